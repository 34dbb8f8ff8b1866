"""Scores of sets of labels: those of scikit-learn, whole or part by part, through a saved state."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everlearn.errors import StateError
from everlearn.evaluation.set_scores import SetScores
from everlearn.label_set import written_set
from everlearn.types import Prediction

SETS = st.sets(st.sampled_from("abcd"))


def said(labels: set[str] | None) -> Prediction:
    return Prediction(None if labels is None else written_set(labels), (), np.zeros(0))


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(SETS, SETS), min_size=1, max_size=30), st.integers(0, 30))
def test_they_are_those_of_scikit_learn(pairs: list[tuple[set[str], set[str]]], cut: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is the reference here")
    scores = SetScores(window=8)
    for start, stop in ((0, cut), (cut, len(pairs))):
        part = pairs[start:stop]
        scores.update([said(one) for _, one in part], [written_set(one) for one, _ in part])
        state = json.loads(json.dumps(scores.state()))
        scores = SetScores()
        scores.restore(state)
    summary = scores.summary()
    occurring = [name for name in "abcd" if any(name in one or name in other for one, other in pairs)]
    has, says = (np.array([[name in pair[k] for name in "abcd"] for pair in pairs]) for k in (0, 1))
    assert summary["examples"] == len(pairs)
    assert summary["subset_accuracy"] == pytest.approx((has == says).all(axis=1).mean())
    assert summary["rolling_subset_accuracy"] == pytest.approx((has == says).all(axis=1)[-8:].mean())
    assert summary["labels_per_example"] == pytest.approx(has.sum() / len(pairs))
    if not occurring:
        assert summary["micro_f1"] is summary["macro_f1"] is None
        return
    columns = ["abcd".index(name) for name in occurring]
    for average in ("micro", "macro"):
        of = "binary" if len(columns) == 1 else average  # one column is no matrix to it
        expected = metrics.f1_score(has[:, columns], says[:, columns], average=of, zero_division=0)
        assert summary[f"{average}_f1"] == pytest.approx(expected)
    assert list(scores.by_label()) == occurring


def test_what_is_not_known_is_wrong_and_what_has_no_target_is_not_scored() -> None:
    scores = SetScores()
    scores.update([said(None), said({"a"}), said(None)], ["[]", None, '["a"]'])
    summary = scores.summary()
    assert (summary["examples"], summary["subset_accuracy"], summary["micro_f1"]) == (2, 0.0, 0.0)


@pytest.mark.parametrize(
    "damage", [{"version": 9}, {"labels": {"a": [1]}}, {"recent": [[1, 2]]}, {"labels": 1}]
)
def test_a_damaged_state_is_refused(damage: dict[str, object]) -> None:
    with pytest.raises(StateError):
        SetScores().restore(SetScores().state() | damage)
