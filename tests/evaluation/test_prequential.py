"""Prequential scores against scikit-learn and against slow references."""

from __future__ import annotations

import json
import math
import time
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, log_loss

from everlearn.errors import ConfigError, StateError
from everlearn.evaluation import PrequentialScores
from everlearn.types import Prediction

LABELS = ("a", "b", "c", "d", "e")


def predict(known: int, weights: list[int]) -> Prediction:
    labels = LABELS[:known]
    if not known:
        return Prediction(None, labels, np.zeros(0))
    values = np.array(weights[:known], np.float64) + 0.01
    values /= values.sum()
    return Prediction(labels[int(values.argmax())], labels, values)


one_prediction = st.builds(predict, st.integers(0, 5), st.lists(st.integers(0, 9), min_size=5, max_size=5))
stream = st.lists(
    st.lists(st.tuples(one_prediction, st.sampled_from([*LABELS, None])), max_size=9), max_size=8
)
Pairs = list[tuple[Prediction, str]]


def reference(pairs: Pairs) -> dict[str, float | None]:
    """Scores from all predictions at once, by scikit-learn and by hand."""
    if not pairs:
        return dict.fromkeys(("accuracy", "macro_f1", "log_loss", "calibration_error", "log_loss_known"))
    targets = [t for _, t in pairs]
    predicted = [p.label or "(none)" for p, _ in pairs]
    present = sorted((set(targets) | set(predicted)) - {"(none)"})
    losses = [-math.log(max(p.probability_of(t), 1e-12)) for p, t in pairs]
    known = [loss for loss, (p, t) in zip(losses, pairs, strict=True) if t in p.labels]
    bins: list[Pairs] = [[] for _ in range(15)]
    for p, t in pairs:
        place = [b for b in range(15) if b / 15 < p.confidence <= (b + 1) / 15]
        bins[place[0] if place else 0].append((p, t))
    gaps = [
        len(b)
        / len(pairs)
        * abs(np.mean([p.label == t for p, t in b]) - np.mean([p.confidence for p, _ in b]))
        for b in bins
        if b
    ]
    return {
        "accuracy": float(accuracy_score(targets, predicted)),
        "macro_f1": float(f1_score(targets, predicted, average="macro", labels=present, zero_division=0)),
        "log_loss": sum(losses) / len(losses),
        "log_loss_known": sum(known) / len(known) if known else None,
        "calibration_error": float(sum(gaps)),
    }


def check(found: dict[str, Any], expected: dict[str, float | None], prefix: str = "") -> None:
    for name, value in expected.items():
        assert found[prefix + name] == (None if value is None else pytest.approx(value, abs=1e-9)), name


@settings(max_examples=60, deadline=None)
@given(stream, st.integers(1, 12))
def test_scores_equal_the_reference(batches: list[list[tuple[Prediction, str | None]]], window: int) -> None:
    scores = PrequentialScores(window)
    pairs: Pairs = []
    for batch in batches:
        scores.update([p for p, _ in batch], [t for _, t in batch])
        pairs += [(p, t) for p, t in batch if t is not None]
        summary = scores.summary()
        assert summary["examples"] == len(pairs) == scores.num_examples
        check(summary, reference(pairs))
        check(summary, reference(pairs[-window:]), "rolling_")
    confusion = scores.confusion()
    labels, matrix = confusion.labels, confusion.matrix()
    named = [(t, p.label) for p, t in pairs if p.label is not None]
    for target, row in zip(labels, matrix.tolist(), strict=True):
        assert row == [named.count((target, predicted)) for predicted in labels]
    assert matrix.dtype == np.int64
    assert matrix.sum() == len(named)


@settings(max_examples=40, deadline=None)
@given(stream, st.integers(1, 12), st.integers(0, 8))
def test_state_continues_exactly(
    batches: list[list[tuple[Prediction, str | None]]], window: int, cut: int
) -> None:
    whole, first = PrequentialScores(window), PrequentialScores(window)
    second = PrequentialScores(3)
    for number, batch in enumerate(batches):
        predictions, targets = [p for p, _ in batch], [t for _, t in batch]
        whole.update(predictions, targets)
        (first if number < cut else second).update(predictions, targets)
        if number < cut:
            second.restore(json.loads(json.dumps(first.state())))
    if cut > 0 and batches:
        assert second.summary() == whole.summary()
        assert second.state() == whole.state()


def test_log_loss_equals_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.full(7, 0.3), 500).clip(1e-9, 1)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    labels = tuple("abcdefg")
    targets = [labels[i] for i in rng.integers(0, 7, 500)]
    scores = PrequentialScores()
    scores.update([Prediction(labels[int(p.argmax())], labels, p) for p in probabilities], targets)
    assert scores.summary()["log_loss"] == pytest.approx(log_loss(targets, probabilities, labels=labels))


def test_corner_cases_count_as_documented() -> None:
    scores = PrequentialScores()
    assert scores.summary()["accuracy"] is None
    scores.update([Prediction(None, (), np.zeros(0))], ["a"])
    scores.update([Prediction("a", ("a",), np.ones(1))], [None])
    scores.update([Prediction("a", ("a",), np.array([np.nan]))], ["a"])
    summary = scores.summary()
    assert (summary["examples"], summary["accuracy"], summary["new_label_share"]) == (2, 0.5, 0.5)
    assert summary["log_loss"] == pytest.approx(-math.log(1e-12))
    assert scores.confusion().to_json() == {"labels": ["a"], "rows_are_targets": [[1]]}


def test_labels_that_grow_in_place_are_seen() -> None:
    labels = ["a"]
    scores = PrequentialScores()
    scores.update([Prediction("a", labels, np.ones(1))], ["b"])
    labels.append("b")
    scores.update([Prediction("b", labels, np.array([0.25, 0.75]))], ["b"])
    assert scores.summary()["new_label_share"] == 0.5


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ConfigError, match="window must be at least 1, not 0"):
        PrequentialScores(0)
    with pytest.raises(ConfigError, match="min_probability"):
        PrequentialScores(min_probability=0)
    with pytest.raises(ValueError):
        PrequentialScores().update([], ["a"])


def test_damaged_states_are_refused_and_change_nothing() -> None:
    scores = PrequentialScores()
    scores.update([Prediction("a", ("a",), np.ones(1))], ["a"])
    state = scores.state()
    changes: list[dict[str, Any]] = [
        {"version": 2},
        {"bins": [1]},
        {"loss": None},
        {"recent": {}},
        {"num_targets": ["x"]},
    ]
    for change in changes:
        with pytest.raises(StateError):
            scores.restore(state | change)
    with pytest.raises(StateError):
        scores.restore({})
    assert scores.state() == state


def test_a_batch_costs_little() -> None:
    rng = np.random.default_rng(0)
    labels = tuple(f"label {i}" for i in range(150))
    probabilities = rng.dirichlet(np.ones(150), 256)
    predictions = [Prediction(labels[int(p.argmax())], labels, p) for p in probabilities]
    targets = [labels[i] for i in rng.integers(0, 150, 256)]
    scores = PrequentialScores()
    seconds = []
    for _ in range(30):
        start = time.perf_counter()
        scores.update(predictions, targets)
        scores.summary()
        seconds.append(time.perf_counter() - start)
    # About 0.3 ms; the best of many, because the machine may be busy.
    assert min(seconds) < 2e-3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        json.dumps(scores.state(), allow_nan=False)
