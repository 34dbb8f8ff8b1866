"""The learner of several labels an example: exact whatever happened before, and of use."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.learning_label_sets.set_examples import DENSE_SIZE, make_sets

from everlearn.errors import ConfigError, StateError
from everlearn.label_set import NO_LABELS, labels_in, written_set
from everlearn.learning.closed_form import ClosedFormConfig, ClosedFormLearner
from everlearn.learning.closed_form.label_sets.learner import LabelSetLearner
from everlearn.types import Example, Prediction

EXAMPLES = make_sets(120)
QUERIES = make_sets(20, seed=1)


def new_learner(num_features: int = 64, sample_size: int = 16, **more: int) -> LabelSetLearner:
    config = ClosedFormConfig.of_size(num_features, sample_size=sample_size, gather=16, **more)
    return LabelSetLearner(config=config, dense_size=DENSE_SIZE)


def learned(examples: list[Example], **sizes: int) -> LabelSetLearner:
    learner = new_learner(**sizes)
    learner.learn(examples)
    learner.settle()
    return learner


def said(learner: LabelSetLearner) -> list[tuple[str | None, list[float]]]:
    return [(one.label, one.probabilities.tolist()) for one in learner.predict(QUERIES)]


def micro_f1(predictions: list[Prediction], examples: list[Example]) -> float:
    hits = total = 0
    for prediction, example in zip(predictions, examples, strict=True):
        one, other = set(labels_in(prediction.label or NO_LABELS)), set(labels_in(example.target or "[]"))
        hits, total = hits + len(one & other), total + len(one) + len(other)
    return 2 * hits / max(1, total)


@settings(max_examples=25, deadline=None)
@given(data=st.data(), sizes=st.sampled_from([(64, 16), (64, 200), (256, 200)]))
def test_whatever_happened_it_is_a_fresh_learner_of_what_it_holds(
    data: st.DataObject, sizes: tuple[int, int]
) -> None:
    """Learning, forgetting, correcting, merging and restarts, with predictions in between, in any order."""
    shape = {"num_features": sizes[0], "sample_size": sizes[1]}
    learner, held, unseen = new_learner(**shape), dict[str, Example](), list(EXAMPLES)
    for _ in range(data.draw(st.integers(1, 7))):
        action = data.draw(st.sampled_from(["learn", "forget", "correct", "merge", "restart", "settle"]))
        num = data.draw(st.integers(1, 40))
        some = list(held.values())[:num]
        new, rest = unseen[:num], unseen[num:]
        if action == "learn":
            learner.learn(new)
            held, unseen = held | {one.id: one for one in new}, rest
        elif action == "merge":
            other = learned(new, **shape)
            learner.merge(other)
            held, unseen = held | {one.id: one for one in new}, rest
        elif action == "forget" and some:
            learner.forget(some)
            held = {id_: one for id_, one in held.items() if one not in some}
        elif action == "correct" and some:
            others = [
                replace(one, target=data.draw(st.sampled_from(['["l0","x"]', "[]", "l1"]))) for one in some
            ]
            learner.correct(some, others)
            held |= {one.id: one for one in others}
        elif action == "restart":
            state, learner = learner.state(), new_learner(**shape)
            learner.restore(state)
        elif action == "settle":
            learner.settle()
        if data.draw(st.booleans()):
            before = learner.state()
            predictions = said(learner)
            if not learner.needs_resample:
                again = new_learner(**shape)
                again.restore(before)
                assert said(again) == predictions
    if learner.needs_resample:
        learner.resample(held.values())
    learner.settle()
    expected = learned(sorted(held.values(), key=lambda one: one.id, reverse=True), **shape)
    assert learner.fingerprint() == expected.fingerprint()
    assert learner.labels == expected.labels
    assert learner.num_examples == len(held)
    assert said(learner) == said(expected)


@pytest.mark.parametrize(("num_features", "sample_size"), [(64, 16), (64, 200), (256, 200), (256, 32)])
def test_live_predictions_have_everything_and_settled_ones_too(num_features: int, sample_size: int) -> None:
    examples, test = make_sets(600, noise=0.3), make_sets(700, noise=0.3)[600:]
    learner = new_learner(num_features=num_features, sample_size=sample_size)
    for start in range(0, 600, 30):
        learner.learn(examples[start : start + 30])
        live = learner.predict(test)
    assert not learner.is_settled
    live_probabilities = np.array([one.probabilities for one in live])
    assert micro_f1(live, test) > 0.85
    learner.settle()
    settled = learner.predict(test)
    assert micro_f1(settled, test) > 0.85
    assert np.abs(live_probabilities - [one.probabilities for one in settled]).mean() < 0.1
    assert {NO_LABELS} < {one.label for one in settled}


def test_a_long_stream_goes_on_behind_bases_with_settings_that_are_kept() -> None:
    """More rows than a base may have behind it, fewer examples than settings are chosen anew for."""
    examples, test = make_sets(3900, noise=0.3), make_sets(4000, noise=0.3)[3900:]
    learner = new_learner()
    for start in range(0, 3900, 100):
        learner.learn(examples[start : start + 100])
        live = learner.predict(test)
    assert micro_f1(live, test) > 0.85
    again = new_learner()
    again.restore(learner.state())
    assert [one.probabilities.tolist() for one in again.predict(test)] == [
        one.probabilities.tolist() for one in live
    ]


def test_probabilities_are_of_each_label_by_itself() -> None:
    learner = learned(make_sets(1500, noise=2.5), num_features=256, sample_size=400)
    test = make_sets(3000, noise=2.5)[1500:]
    probabilities = np.array([one.probabilities for one in learner.predict(test)])
    targets = np.array([[label in labels_in(e.target or "") for label in learner.labels] for e in test])
    np.testing.assert_allclose(probabilities.mean(axis=0), targets.mean(axis=0), atol=0.05)
    for low, high in ((0.0, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 1.0)):
        within = (probabilities >= low) & (probabilities < high)
        assert within.sum() > 100
        assert abs(probabilities[within].mean() - targets[within].mean()) < 0.1


def test_something_is_said_where_every_example_has_a_label() -> None:
    """And only there: thresholds alone leave many without one, as the last comparison shows."""
    some = [one for one in make_sets(400, noise=3.0) if labels_in(one.target or "")]
    test = make_sets(600, noise=3.0)[400:]
    assert all(one.label != NO_LABELS for one in learned(some).predict(test))
    assert any(one.label == NO_LABELS for one in learned(make_sets(400, noise=3.0)).predict(test))


def test_one_label_and_a_list_of_it_are_the_same() -> None:
    lists = [replace(one, target=written_set(labels_in(one.target or ""))) for one in EXAMPLES]
    assert any(one.target != other.target for one, other in zip(lists, EXAMPLES, strict=True))
    assert learned(EXAMPLES).predict(QUERIES)[0].label == learned(lists).predict(QUERIES)[0].label


@pytest.mark.parametrize(
    "targets", [["[]"], ['["a"]'], ["[]", "[]"], ['["a"]', '["a"]'], ['["a","b"]', "[]", "b"]]
)
def test_very_few_examples_are_fine(targets: list[str]) -> None:
    examples = [replace(one, target=target) for one, target in zip(EXAMPLES, targets, strict=False)]
    learner = new_learner()
    learner.learn(examples)
    for _ in range(2):
        for one in learner.predict(QUERIES):
            assert one.label is not None
            assert len(one.probabilities) == len(learner.labels)
            assert np.isfinite(one.probabilities).all()
        learner.settle()
    learner.forget(examples)
    assert learner.fingerprint() == new_learner().fingerprint()
    assert learner.predict(QUERIES)[0].label is None


def test_it_refuses_what_it_cannot_take_out_and_too_many_labels() -> None:
    learner = learned(EXAMPLES, max_classes=5)
    before = learner.fingerprint()
    with pytest.raises(StateError, match="'unknown'"):
        learner.forget([replace(EXAMPLES[0], target='["unknown"]')])
    with pytest.raises(ConfigError, match="max_classes=5"):
        learner.learn([replace(EXAMPLES[40], target='["new"]')])
    assert learner.fingerprint() == before


def test_sets_and_single_labels_do_not_mix() -> None:
    sets = learned(EXAMPLES[:30])
    single = ClosedFormLearner(config=sets.config, dense_size=DENSE_SIZE)
    with pytest.raises(ConfigError, match="targets"):
        sets.merge(single)
    with pytest.raises(StateError, match="label-sets"):
        single.restore(sets.state())


def test_a_predictor_stays_as_it_is() -> None:
    learner = new_learner(num_features=256)
    learner.learn(EXAMPLES[:60])
    for made in (learner.snapshot, learner.frozen):
        frozen = made()
        before = [one.probabilities.tolist() for one in frozen.predict(QUERIES)]
        learner.learn(make_sets(40, seed=3))
        learner.refresh()
        assert [one.probabilities.tolist() for one in frozen.predict(QUERIES)] == before
