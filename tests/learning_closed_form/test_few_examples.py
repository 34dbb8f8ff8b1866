"""Of few examples codes are kept, of many sums: nothing that a learner says or is depends on which."""

from __future__ import annotations

import gc
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import event, given, settings
from hypothesis import strategies as st
from tests.learning_closed_form.synthetic_codes import DENSE_SIZE, make_examples

from everlearn.learning import ClosedFormConfig, ClosedFormLearner
from everlearn.learning.closed_form.features import FeatureMap
from everlearn.learning.closed_form.gram_sums import GramSums
from everlearn.types import Example, State

CONFIG = ClosedFormConfig.of_size(64, gram_bits=10, sample_size=16, gather=7)  # up to 32 examples are few
STREAM = make_examples(400, num_classes=4, noise=1.0)
QUERIES = STREAM[-6:]


def learned(examples: list[Example]) -> ClosedFormLearner:
    learner = ClosedFormLearner(dense_size=DENSE_SIZE, config=CONFIG)
    learner.learn(examples)
    return learner


def has_sums(learner: ClosedFormLearner) -> bool:
    return "sums.gram.000" in learner.state().tensors


def restarted(learner: ClosedFormLearner) -> ClosedFormLearner:
    state, other = learner.state(), learned([])
    other.restore(State(state.tensors, json.loads(json.dumps(state.data))))
    return other


Steps = list[tuple[str, int]]
KINDS = ["learn", "learn", "again", "forget", "forget", "correct", "merge", "restart", "predict", "settle"]


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    steps=st.lists(st.tuples(st.sampled_from(KINDS), st.integers(1, 20)), min_size=2, max_size=12),
)
def test_whatever_happens_it_is_the_learner_of_what_is_left(seed: int, steps: Steps) -> None:
    generator = np.random.default_rng(seed)
    learner, at = learned([]), 0
    left: list[Example] = []
    for kind, num in steps:
        new = STREAM[at : at + num]
        some = [left[k] for k in generator.permutation(len(left))[:num]]
        if kind == "again":  # the same id with another label
            new = [replace(one, target="again") for one in some]
        if kind in ("learn", "again", "merge"):
            at += num
            left = left + new
            if kind == "merge":
                learner.merge(learned(new))
            else:
                learner.learn(new)
        elif kind in ("forget", "correct"):
            others = [one.with_target(f"{one.target}!") for one in some] if kind == "correct" else []
            left = [one for one in left if not any(one is gone for gone in some)] + others
            if kind == "correct":
                learner.correct(some, others)
            else:
                learner.forget(some)
            if learner.needs_resample:
                learner.resample(left)
        elif kind == "restart":
            learner = restarted(learner)
        elif kind == "predict":
            learner.predict(QUERIES)
        else:
            learner.settle()
        fresh = learned(left)
        assert learner.num_examples == len(left)
        assert learner.labels == fresh.labels
        assert learner.fingerprint() == fresh.fingerprint()
    event(f"sums: {has_sums(learner)}, of a fresh learner: {has_sums(fresh)}")
    for one in (learner, fresh):
        one.settle()
    for mine, other in zip(learner.predict(QUERIES), fresh.predict(QUERIES), strict=True):
        assert mine.labels == other.labels
        np.testing.assert_allclose(mine.probabilities, other.probabilities, atol=1e-6)
        assert mine.outlier_score == pytest.approx(other.outlier_score, abs=1e-6)


def test_sums_are_kept_from_the_example_on_that_the_sample_has_no_room_for() -> None:
    learner = learned(STREAM[:32])
    assert not has_sums(learner)
    learner.learn(STREAM[32:33])
    assert has_sums(learner)


def test_few_examples_are_saved_in_little_room() -> None:
    few, many = learned(STREAM[:16]), learned(STREAM[:33])
    few.settle()
    many.settle()
    sizes = [sum(tensor.nbytes for tensor in one.state().tensors.values()) for one in (few, many)]
    assert sizes[0] < 16 * 600
    assert sizes[1] > 64 * 64 * 4


def test_a_state_of_an_earlier_format_is_read() -> None:
    """It has the sums of few examples too."""
    examples = STREAM[:8]
    learner = learned(examples)
    state = learner.state()
    sums = learner._statistics.features.sums()
    old = {f"sums.{name}": tensor for name, tensor in sums.tensors().items()}
    data = {name: value for name, value in state.data.items() if name not in ("format", "label_counts")}
    other = learned([])
    other.restore(State({**state.tensors, **old}, data))
    assert other.fingerprint() == learner.fingerprint()
    for one in (learner, other):
        one.learn(STREAM[8:30])
        one.forget(examples)
        one.settle()
    assert other.fingerprint() == learner.fingerprint()
    assert other.fingerprint() == learned(STREAM[8:30]).fingerprint()
    for mine, theirs in zip(learner.predict(QUERIES), other.predict(QUERIES), strict=True):
        np.testing.assert_array_equal(mine.probabilities, theirs.probabilities)


def test_what_was_not_learned_is_subtracted_all_the_same() -> None:
    """Sums say then that something is wrong; codes could not."""
    learner = learned(STREAM[:6])
    strange = next(one for one in STREAM[20:] if one.target in learner.labels)
    before = learner.fingerprint()
    learner.forget([strange])
    assert learner.num_examples == 5
    learner.learn([strange])
    assert learner.num_examples == 6
    assert has_sums(learner)
    assert learner.fingerprint() != before  # the sample has it now
    learner.resample(STREAM[:6])
    assert learner.fingerprint() == before


def test_the_same_id_twice_loses_the_code_that_is_forgotten() -> None:
    one = STREAM[0]
    other = replace(STREAM[1], id=one.id, target=one.target)
    for gone, kept in ((one, other), (other, one)):
        learner = learned([one, other, STREAM[2]])
        learner.forget([gone])
        assert learner.fingerprint() == learned([kept, STREAM[2]]).fingerprint()
        assert not has_sums(learner)


def test_learners_of_equal_sizes_share_the_projection() -> None:
    cpu = torch.device("cpu")
    one, other, seeded = (FeatureMap(DENSE_SIZE, DENSE_SIZE, 0, 64, seed, cpu) for seed in (0, 0, 1))
    assert one._of_all is other._of_all
    assert one._of_leading is other._of_leading
    code = torch.eye(4, one._pooled_size, dtype=torch.int8)
    assert not torch.equal(one._of_all.product(code), seeded._of_all.product(code))


def test_nothing_large_is_left_of_a_fingerprint_or_a_solve() -> None:
    learner = learned(STREAM[:16])
    for use in (learner.fingerprint, learner.settle, learner.sample_scores, learner.state):
        use()
        gc.collect()
        assert not any(type(one) is GramSums for one in gc.get_objects())
