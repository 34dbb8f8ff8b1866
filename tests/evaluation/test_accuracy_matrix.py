"""The accuracy matrix, on examples computed by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from everlearn.errors import StateError
from everlearn.evaluation import AccuracyMatrix

VALUES = [[0.9, 0.2, 0.1], [0.7, 0.8, 0.3], [0.8, 0.5, 0.95]]


def filled(rows: int = 3, *, triangle: bool = False) -> AccuracyMatrix:
    matrix = AccuracyMatrix(["one", "two", "three"])
    for i in range(rows):
        for j in range(i + 1 if triangle else 3):
            matrix.record(i, j, VALUES[i][j])
    return matrix


def test_measures_by_hand() -> None:
    matrix = filled()
    assert matrix.num_learned == 3
    assert matrix.average_accuracy == pytest.approx((0.8 + 0.5 + 0.95) / 3)
    assert matrix.forgetting == pytest.approx(((0.9 - 0.8) + (0.8 - 0.5)) / 2)
    assert matrix.backward_transfer == pytest.approx(((0.8 - 0.9) + (0.5 - 0.8)) / 2)
    assert matrix.forward_transfer == pytest.approx((0.2 + 0.3) / 2)
    matrix.record_baseline(1, 0.1)
    matrix.record_baseline(2, 0.2)
    assert matrix.forward_transfer == pytest.approx((0.1 + 0.1) / 2)


def test_forgetting_looks_at_the_best_not_the_first() -> None:
    matrix = AccuracyMatrix("abc")
    for (after, on), value in {
        (0, 0): 0.5,
        (1, 0): 0.9,
        (1, 1): 0.6,
        (2, 0): 0.6,
        (2, 1): 0.7,
        (2, 2): 1,
    }.items():
        matrix.record(after, on, value)
    assert matrix.forgetting == pytest.approx(((0.9 - 0.6) + (0.6 - 0.7)) / 2)
    assert matrix.backward_transfer == pytest.approx(((0.6 - 0.5) + (0.7 - 0.6)) / 2)


def test_measures_in_the_middle_of_the_stream() -> None:
    matrix = filled(2)
    assert matrix.average_accuracy == pytest.approx((0.7 + 0.8) / 2)
    assert matrix.forgetting == pytest.approx(0.2)
    assert matrix.forward_transfer == pytest.approx(0.2)


def test_measures_are_none_while_undefined() -> None:
    empty = AccuracyMatrix(["one", "two"])
    assert empty.num_learned == 0
    assert empty.average_accuracy is empty.forgetting is empty.backward_transfer is None
    assert filled(1).forgetting is None
    assert filled(1).average_accuracy == pytest.approx(0.9)
    assert filled(3, triangle=True).forward_transfer is None
    assert filled(3, triangle=True).forgetting == pytest.approx(0.2)
    holes = AccuracyMatrix("abc")
    holes.record(2, 2, 1.0)
    assert holes.average_accuracy is holes.forgetting is holes.backward_transfer is None


def test_json_gives_the_same_matrix() -> None:
    matrix = filled(2)
    matrix.record_baseline(1, 0.25)
    text = json.dumps(matrix.to_json(), allow_nan=False)
    again = AccuracyMatrix.from_json(json.loads(text))
    assert again.experience_names == matrix.experience_names
    np.testing.assert_array_equal(again.values, matrix.values)
    np.testing.assert_array_equal(again.baselines, matrix.baselines)


@pytest.mark.parametrize(
    "data", [{}, {"experiences": ["a"], "values": [[1, 2]], "baselines": [0]}, {"experiences": 3}]
)
def test_damaged_json_is_refused(data: dict[str, object]) -> None:
    with pytest.raises(StateError, match="damaged"):
        AccuracyMatrix.from_json(data)


@pytest.mark.parametrize(
    ("after", "on", "accuracy"), [(3, 0, 0.5), (0, -1, 0.5), (0, 0, 95.0), (0, 0, np.nan)]
)
def test_values_out_of_range_are_refused(after: int, on: int, accuracy: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        filled().record(after, on, accuracy)
