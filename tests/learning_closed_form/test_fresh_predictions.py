"""The next prediction uses what was just learned, whatever else happens in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.learning_closed_form.synthetic_codes import DENSE_SIZE, make_examples

from everlearn.learning import ClosedFormConfig, ClosedFormLearner
from everlearn.learning.closed_form.live import schedule
from everlearn.learning.closed_form.remade import ROOM_BYTES, Spare
from everlearn.learning.closed_form.solver import Solver
from everlearn.types import Example

# Few examples are up to 64 here, and 50 rows are many.
CONFIG = ClosedFormConfig.of_size(128, gram_bits=12, sample_size=32, gather=50)


@pytest.fixture(autouse=True)
def _small_bases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "MOST_ROWS", 50)


def new_learner() -> ClosedFormLearner:
    return ClosedFormLearner(dense_size=DENSE_SIZE, config=CONFIG)


def probabilities(learner: ClosedFormLearner, examples: Sequence[Example]) -> npt.NDArray[np.float64]:
    return np.stack([prediction.probabilities for prediction in learner.predict(examples)])


def test_one_example_of_a_new_label_is_enough() -> None:
    """From the first example on, of few and of many, and at once."""
    examples = make_examples(300, num_classes=4, noise=0.3)
    paraphrases = {str(one.target): one for one in make_examples(300, num_classes=4, noise=0.3)[200:]}
    learner = new_learner()
    for start in range(0, 200, 7):
        for one in examples[start : start + 7]:
            if one.target not in learner.labels:
                learner.learn([one])
                assert learner.predict([paraphrases[str(one.target)]])[0].label == one.target
        learner.learn([one for one in examples[start : start + 7] if one.id != "first"])
        learner.predict(examples[:3])
        if start in (49, 147):
            other = make_examples(9, num_classes=9, noise=0.2, seed=start)
            new = replace(other[0], id=f"new{start}", target=f"new{start}")
            learner.learn([new])
            assert learner.predict([new])[0].label == f"new{start}"


def test_what_was_settled_goes_on_from_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing large is made for the next example, where the learner was made ready for it."""
    stream = make_examples(220, noise=1.0)
    learner, unready = new_learner(), new_learner()
    for one in (learner, unready):
        one.learn(stream[:200])
        one.settle()
    learner.make_ready()
    np.testing.assert_array_equal(probabilities(learner, stream[-5:]), probabilities(unready, stream[-5:]))

    def refuse(*_: object) -> None:
        raise AssertionError("a base was made")

    with monkeypatch.context() as patch:
        patch.setattr(Solver, "live", refuse)
        patch.setattr(Solver, "live_before", refuse)
        learner.learn(stream[200:203])
        learner.correct(stream[:2], [one.with_target("c1") for one in stream[:2]])
        found = probabilities(learner, stream[-5:])
    unready.learn(stream[200:203])
    unready.correct(stream[:2], [one.with_target("c1") for one in stream[:2]])
    np.testing.assert_array_equal(found, probabilities(unready, stream[-5:]))


@pytest.mark.parametrize("num", [20, 150])
def test_a_correction_changes_the_next_answer(num: int) -> None:
    examples = make_examples(num, noise=0.3)
    odd = make_examples(1, seed=9)[0]  # what nothing else is like
    examples.append(replace(odd, id="odd"))
    learner = new_learner()
    learner.learn(examples[:-1])
    learner.predict(examples[:2])
    wrong = examples[-1].with_target("quite another")
    learner.learn([wrong])
    assert learner.predict([wrong])[0].label == "quite another"
    learner.correct([wrong], [examples[-1]])
    assert learner.predict([wrong])[0].label == examples[-1].target
    assert "quite another" not in learner.labels
    both = [one for one in examples if one.target == examples[-1].target][:2]
    learner.correct(both, [one.with_target("c9") for one in both])
    assert "c9" in learner.labels
    apart = new_learner()
    apart.learn([one for one in examples if one not in both] + [one.with_target("c9") for one in both])
    assert apart.fingerprint() == learner.fingerprint()


@pytest.mark.parametrize("batch", [1, 8, 45])
def test_predictions_are_those_of_everything_solved(batch: int) -> None:
    """Of a learner that is given the same at once, but for the settings, which are chosen now and then."""
    examples, queries = make_examples(260, noise=1.0), make_examples(320, noise=1.0)[260:]
    learner = new_learner()
    apart = []
    for start in range(0, 256, batch):
        learner.learn(examples[start : start + batch])
        found = probabilities(learner, queries)
        if start < 64:
            continue
        whole = new_learner()
        whole.learn(examples[: start + batch])
        whole.settle()
        apart.append(float((found.argmax(axis=1) != probabilities(whole, queries).argmax(axis=1)).mean()))
    assert np.mean(apart) < 0.03, apart


def restarted(learner: ClosedFormLearner) -> ClosedFormLearner:
    other = new_learner()
    other.restore(learner.state())
    return other


Steps = list[tuple[str, int]]


@settings(max_examples=40, deadline=None)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["learn", "learn", "learn", "correct", "forget", "settle", "predict"]),
            st.integers(1, 40),
        ),
        min_size=4,
        max_size=14,
    ),
    restarts=st.sets(st.integers(0, 13)),
    snapshots=st.sets(st.integers(0, 13)),
    crowds=st.sets(st.integers(0, 13)),
    prepared=st.sets(st.integers(0, 13)),
)
def test_restarts_snapshots_and_other_learners_change_nothing(
    steps: Steps, restarts: set[int], snapshots: set[int], crowds: set[int], prepared: set[int]
) -> None:
    """To the bit, through few examples, many, corrections and deletions."""
    straight, disturbed = new_learner(), new_learner()
    stream = make_examples(700, noise=1.0)
    learned: list[Example] = []
    at = 0
    for number, (kind, num) in enumerate(steps):
        if number in crowds:  # what can be made again is let go
            Spare(0, ROOM_BYTES)
        if number in snapshots and learned:
            disturbed.snapshot().predict(stream[-3:])
        if number in restarts:
            disturbed = restarted(disturbed)
        if number in prepared:
            disturbed.make_ready()
        if kind == "learn":
            new = stream[at : at + num]
            at += num
            learned += new
            for learner in (straight, disturbed):
                learner.learn(new)
        elif kind in ("correct", "forget") and len(learned) > num:
            some, learned = learned[:num], learned[num:]
            others = [one.with_target(f"c{(int(str(one.target)[1:]) + 1) % 5}") for one in some]
            for learner in (straight, disturbed):
                if kind == "correct":
                    learner.correct(some, others)
                else:
                    learner.forget(some)
                    if learner.needs_resample:
                        learner.resample(learned)
            learned += others if kind == "correct" else []
        elif kind == "settle":
            straight.settle()
            disturbed.settle()
        if number + 1 in crowds:
            Spare(0, ROOM_BYTES)
        if number + 1 in restarts:
            disturbed = restarted(disturbed)
        if learned and kind != "forget":
            np.testing.assert_array_equal(
                probabilities(straight, stream[-5:]), probabilities(disturbed, stream[-5:])
            )
    assert straight.fingerprint() == disturbed.fingerprint()
    fresh = new_learner()
    fresh.learn(learned)
    if learned:
        for learner in (straight, disturbed, fresh):
            learner.settle()
        np.testing.assert_array_equal(probabilities(straight, stream[-9:]), probabilities(fresh, stream[-9:]))


@pytest.mark.parametrize("is_crowded", [False, True])
def test_what_is_frozen_where_few_become_many_has_all(is_crowded: bool) -> None:
    stream = make_examples(120, noise=1.0)
    learner = new_learner()
    learner.learn(stream[:50])
    learner.predict(stream[-3:])
    learner.learn(stream[50:100])
    if is_crowded:
        Spare(0, ROOM_BYTES)
    frozen = learner.frozen().predict(stream[-9:])
    for mine, now in zip(frozen, learner.predict(stream[-9:]), strict=True):
        np.testing.assert_allclose(mine.probabilities, now.probabilities, atol=1e-6)
