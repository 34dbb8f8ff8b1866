"""A learner that is saved and restored between two batches goes on as if nothing had happened."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from tests.learning_closed_form.synthetic_codes import DENSE_SIZE, make_examples

from everlearn.learning.closed_form import ClosedFormConfig, ClosedFormLearner
from everlearn.types import Prediction, State

CONFIG = ClosedFormConfig.of_size(128, gram_bits=12, sample_size=64)
EXAMPLES = make_examples(400, num_classes=12)
BATCH = 16


def fold(cut: int | None) -> tuple[list[list[Prediction]], str]:
    """Predictions of all batches, and the fingerprint; saved and restored after ``cut`` batches."""
    learner = ClosedFormLearner(config=CONFIG, dense_size=DENSE_SIZE)
    predictions = []
    for number, start in enumerate(range(0, len(EXAMPLES), BATCH)):
        if number == cut:
            saved = learner.state()
            learner = ClosedFormLearner(config=CONFIG, dense_size=DENSE_SIZE)
            # Through a file's bytes: rows after rows, and aligned as it happens.
            stored = save({name: tensor.contiguous() for name, tensor in saved.tensors.items()})
            learner.restore(State(load(stored), json.loads(json.dumps(saved.data))))
        batch = EXAMPLES[start : start + BATCH]
        predictions.append(learner.predict(batch))
        learner.learn(batch)
    return predictions, learner.fingerprint()


UNDISTURBED = fold(None)


@settings(max_examples=12, deadline=None)
@given(cut=st.integers(0, len(EXAMPLES) // BATCH - 1))
def test_predictions_after_a_restore_are_equal_to_the_bit(cut: int) -> None:
    predictions, fingerprint = fold(cut)
    assert fingerprint == UNDISTURBED[1]
    for ours, theirs in zip(predictions, UNDISTURBED[0], strict=True):
        for mine, other in zip(ours, theirs, strict=True):
            assert (mine.label, mine.labels) == (other.label, other.labels)
            assert np.array_equal(mine.probabilities, other.probabilities)
            assert mine.outlier_score == other.outlier_score
            assert mine.is_outlier == other.is_outlier


def test_what_is_saved_lies_in_memory_as_it_comes_back() -> None:
    # Products over columns and over rows differ in the last bit, on some machines and at some sizes only.
    learner = ClosedFormLearner(config=CONFIG, dense_size=DENSE_SIZE)
    learner.learn(EXAMPLES[:100])
    learner.refresh()
    quick = learner.state().tensors
    learner.settle()
    for tensors in (quick, learner.state().tensors):
        assert [name for name, tensor in tensors.items() if not tensor.is_contiguous()] == []


def test_a_frozen_predictor_stays_while_the_learner_goes_on() -> None:
    learner = ClosedFormLearner(config=CONFIG, dense_size=DENSE_SIZE)
    assert [one.label for one in learner.frozen().predict(EXAMPLES[:2])] == [None, None]
    learner.learn(EXAMPLES[:100])
    learner.settle()
    before = [one.probabilities for one in learner.predict(EXAMPLES[300:])]
    frozen = learner.frozen()
    learner.learn([one.with_target("c0") for one in EXAMPLES[100:300]])
    learner.settle()
    after = [one.probabilities for one in frozen.predict(EXAMPLES[300:])]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    now = [one.probabilities for one in learner.predict(EXAMPLES[300:])]
    assert not any(np.array_equal(a, b) for a, b in zip(before, now, strict=True))
