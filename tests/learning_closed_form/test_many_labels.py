"""What grows with the labels, and must not grow faster than they do."""

from __future__ import annotations

import gc
import tracemalloc
import weakref
from collections.abc import Sequence
from dataclasses import astuple
from itertools import pairwise

import numpy as np
import pytest
import torch

from everlearn.errors import InputError
from everlearn.learning.closed_form import ClosedFormConfig, ClosedFormLearner, mixture, solution
from everlearn.learning.closed_form.gram_sums import GramSums
from everlearn.types import Code, Example

DENSE_SIZE = 16
CONFIG = ClosedFormConfig.of_size(64, sample_size=16, gather=32)


def examples(num: int, labels: Sequence[str]) -> list[Example]:
    generator = np.random.default_rng(3)
    return [
        Example(
            id=f"e{k}",
            target=labels[k % len(labels)],
            code=Code(
                generator.integers(-60, 61, DENSE_SIZE).astype(np.int8),
                np.arange(3, dtype=np.uint32) + k % 7,
                np.full(3, 147, np.uint8),
            ),
        )
        for k in range(num)
    ]


def test_what_is_frozen_holds_no_second_learner() -> None:
    learner = ClosedFormLearner(config=CONFIG, dense_size=DENSE_SIZE)
    learner.learn(examples(40, ["a", "b"]))
    learner.settle()
    gone, frozen = weakref.ref(learner), learner.frozen()
    expected = learner.predict(examples(3, ["a"]))
    del learner
    gc.collect()
    assert gone() is None
    assert not any(type(one) is GramSums for one in gc.get_objects())
    for mine, other in zip(frozen.predict(examples(3, ["a"])), expected, strict=True):
        assert np.array_equal(mine.probabilities, other.probabilities)


def test_sums_by_class_equal_their_definition_whatever_the_order_of_labels() -> None:
    generator = torch.Generator().manual_seed(1)
    features = torch.randint(-127, 128, (90, 40), generator=generator, dtype=torch.int8)
    classes = torch.randint(0, 30, (90,), generator=generator)
    sums = GramSums(40, 16, torch.device("cpu"))
    known = 0
    for start in range(0, 90, 9):
        batch = slice(start, start + 9)
        known = max(known, int(classes[batch].max()) + 1)
        sums.add(features[batch], classes[batch], known)
    sums.subtract(features[:20], classes[:20])
    expected = torch.zeros(known, 40, dtype=torch.int64)
    for row, label in zip(features[20:], classes[20:], strict=True):
        expected[label] += row
    assert torch.equal(sums.class_sums(), expected)
    assert torch.equal(sums.class_counts_C, torch.bincount(classes[20:], minlength=known))


def test_a_new_label_does_not_copy_the_sums_of_all_others() -> None:
    sums = GramSums(8, 4, torch.device("cpu"))
    one = torch.ones(1, 8, dtype=torch.int8)
    places = []
    for label in range(1_000):
        sums.add(one, torch.tensor([label]), label + 1)
        places.append(sums.class_sums().data_ptr())
    assert sum(a != b for a, b in pairwise(places)) < 50
    assert torch.equal(sums.class_sums(), torch.ones(1_000, 8, dtype=torch.int64))


def test_a_fingerprint_takes_no_copy_of_the_class_sums() -> None:
    config = ClosedFormConfig.of_size(256, sample_size=16, gather=512)
    learner = ClosedFormLearner(config=config, dense_size=DENSE_SIZE)
    learner.learn(examples(4_000, [f"label {k}" for k in range(4_000)]))
    learner.fingerprint()  # what was gathered is added
    size = learner.state().tensors["sums.class_sums"].nbytes
    tracemalloc.start()
    learner.fingerprint()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < size / 2


def test_predictions_in_blocks_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = [f"label {k}" for k in range(30)]
    learner = ClosedFormLearner(config=CONFIG, dense_size=DENSE_SIZE)
    learner.learn(examples(200, labels))
    learner.settle()
    batch = examples(37, labels)
    whole = learner.predict(batch)
    monkeypatch.setattr(solution, "_SCORES_AT_ONCE", 30 * 8)
    for one, other in zip(learner.predict(batch), whole, strict=True):
        np.testing.assert_allclose(one.probabilities, other.probabilities, rtol=1e-6, atol=1e-12)
        assert one.label == other.label


def vars_of(fitted: mixture.Mixture) -> list[float]:
    return [
        *(x for x in astuple(fitted) if isinstance(x, float)),
        *fitted.means_weights,
        *fitted.means_spreads,
    ]


@pytest.mark.parametrize("kept", [0, 1 << 22])
def test_a_mixture_fitted_in_blocks_is_that_of_the_whole(monkeypatch: pytest.MonkeyPatch, kept: int) -> None:
    generator = np.random.default_rng(4)
    classes = generator.integers(0, 12, 90)
    experts = list(generator.normal(size=(4, 90, 12)))
    for scores, size in zip(experts, (1.5, 0.6, 1.0, 0.3), strict=True):
        scores[np.arange(90), classes] += size
    is_telling = generator.random(90) < 0.8
    whole = mixture.fit_mixture(experts, classes, is_telling)
    monkeypatch.setattr(mixture, "_BLOCK_SCORES", 12 * 7)
    monkeypatch.setattr(mixture, "_KEPT_SCORES", kept)
    found = mixture.fit_mixture(experts, classes, is_telling)
    assert vars_of(found) == pytest.approx(vars_of(whole), rel=1e-9)


def test_a_fit_and_a_prediction_take_little_more_than_their_scores() -> None:
    num, num_labels = 800, 3_000
    scores = np.random.default_rng(5).normal(size=(2, num, num_labels))
    classes = np.arange(num) % num_labels
    tracemalloc.start()
    mixture.fit_mixture(list(scores), classes)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.25 * scores.nbytes + 16 * 8 * mixture._BLOCK_SCORES


def test_a_state_is_a_copy_that_learning_leaves_alone() -> None:
    labels = [f"label {k}" for k in range(5)]
    learner = ClosedFormLearner(config=CONFIG, dense_size=DENSE_SIZE)
    everything = examples(400, labels)
    learner.learn(everything[:200])
    learner.settle()
    before, fingerprint = learner.state(), learner.fingerprint()
    kept = {name: tensor.clone() for name, tensor in before.tensors.items()}
    for start in range(200, 400, 20):
        learner.learn(everything[start : start + 20])
    learner.settle()
    learner.forget(everything[:50])
    assert learner.fingerprint() != fingerprint
    assert all(torch.equal(before.tensors[name], tensor) for name, tensor in kept.items())
    learner.restore(before)
    assert learner.fingerprint() == fingerprint


def test_ids_are_no_examples_to_forget() -> None:
    learner = ClosedFormLearner(config=CONFIG, dense_size=DENSE_SIZE)
    learner.learn(examples(10, ["a", "b"]))
    fingerprint = learner.fingerprint()
    with pytest.raises(InputError, match="takes the examples that were learned, not str"):
        learner.forget(["e4"])  # type: ignore[list-item]
    assert learner.fingerprint() == fingerprint
