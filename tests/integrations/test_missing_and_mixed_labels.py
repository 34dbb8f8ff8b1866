"""Labels that are missing in a table, and labels of two types: the same answer at every door."""

from __future__ import annotations

import decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from everlearn.errors import InputError
from everlearn.integrations import RiverClassifier, SklearnClassifier
from everlearn.integrations.label_names import is_missing

MISSING: list[Any] = [None, float("nan"), np.float64("nan"), pd.NA, pd.NaT, np.datetime64("NaT")]
X_SIX = [[0.0], [0.1], [0.2], [9.0], [9.1], [9.2]]


@pytest.mark.parametrize("value", [*MISSING, decimal.Decimal("nan")])
def test_what_is_missing(value: Any) -> None:
    assert is_missing(value)


@pytest.mark.parametrize("value", ["", "nan", 0, False, 0.0, np.array([1.0, 2.0]), ("a",), pd.Timestamp(0)])
def test_what_is_there(value: Any) -> None:
    assert not is_missing(value)


@pytest.mark.parametrize("missing", MISSING)
def test_river_passes_over_what_has_no_label(missing: Any) -> None:
    rows = [{"x": row[0]} for row in X_SIX]
    labels = ["low", "low", "low", "high", "high", "high"]
    with_gap, without = RiverClassifier(num_features=64), RiverClassifier(num_features=64)
    with_gap.learn_many(pd.DataFrame(rows[:5]), pd.Series([*labels[:4], missing], dtype=object))
    with_gap.learn_one({"x": 4.0}, missing)
    without.learn_many(pd.DataFrame(rows[:4]), pd.Series(labels[:4]))
    with_gap.settle()
    without.settle()
    asked = pd.DataFrame(rows)
    assert with_gap.predict_proba_many(asked).equals(without.predict_proba_many(asked))


def test_a_missing_feature_counts_as_zero_however_it_is_written() -> None:
    model = RiverClassifier(num_features=64)
    for x, y in [(-2.0, "low"), (2.0, "high")] * 3:
        model.learn_one({"x": x, "y": 1.0}, y)
    model.settle()
    expected = model.predict_proba_one({"x": 2.0})
    for value in (None, float("nan"), pd.NA, pd.NaT):
        assert model.predict_proba_one({"x": 2.0, "y": value}) == expected


@pytest.mark.parametrize("missing", MISSING)
@pytest.mark.parametrize("learn", ["fit", "partial_fit"])
def test_scikit_learns_classifier_refuses_them_with_its_words(missing: Any, learn: str) -> None:
    model = SklearnClassifier(num_features=64)
    for labels in (
        pd.Series(["a", "a", "b", "b", "b", missing], dtype=object),
        ["a", "a", "b", "b", "b", missing],
        np.array(["a", "a", "b", "b", "b", missing], dtype=object),
    ):
        with pytest.raises(ValueError, match=r"Input y contains NaN: row 5"):
            getattr(model, learn)(X_SIX, labels)
    assert not hasattr(model, "classes_")


def test_missing_among_numbers_is_refused_too() -> None:
    for labels in (np.array([1.0, 2.0, np.nan]), pd.Series([1, 2, None], dtype="Int64")):
        with pytest.raises(ValueError, match=r"Input y contains NaN: row 2"):
            SklearnClassifier(num_features=64).fit(X_SIX[:3], labels)


@pytest.mark.parametrize(
    ("first", "second"), [([1, 2], ["1", "2"]), (["1", "2"], [1, 2]), ([True, False], ["True", "b"])]
)
def test_labels_of_another_type_than_before_are_refused(first: list[Any], second: list[Any]) -> None:
    model = SklearnClassifier(num_features=64).partial_fit([[0.0], [1.0]] * 2, first * 2)
    expected = model.predict_proba(X_SIX)
    with pytest.raises(InputError, match="but the labels learned before are"):
        model.partial_fit([[0.0], [1.0]], second)
    assert model.classes_.tolist() == sorted(first)
    assert np.array_equal(model.predict_proba(X_SIX), expected)
    assert np.allclose(expected.sum(axis=1), 1.0)


@pytest.mark.parametrize("labels", [[1, "1"], ["a", 2.0], pd.Series([True, "a"], dtype=object)])
def test_labels_of_two_types_at_once_are_refused(labels: Any) -> None:
    with pytest.raises(InputError, match="y holds"):
        SklearnClassifier(num_features=64).fit([[0.0], [1.0]], labels)
    with pytest.raises(InputError, match="classes"):
        SklearnClassifier(num_features=64).partial_fit([[0.0], [1.0]], [1, 2], classes=labels)


def test_whole_and_broken_numbers_stay_one_kind() -> None:
    model = SklearnClassifier(num_features=64).partial_fit([[0.0], [1.0]] * 2, [1, 2] * 2)
    model.partial_fit([[5.0]], np.array([3.0]))
    assert np.allclose(model.predict_proba(X_SIX).sum(axis=1), 1.0)
    assert model.classes_.tolist() == [1, 2, 3]
