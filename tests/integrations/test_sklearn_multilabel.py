"""Several labels a row by the conventions of scikit-learn: indicator matrices and collections of labels."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the adapter is of scikit-learn")
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.metrics import f1_score
from sklearn.model_selection import cross_val_score
from sklearn.preprocessing import MultiLabelBinarizer

from everlearn.errors import InputError
from everlearn.integrations.sklearn_multilabel import MultiLabelClassifier

RNG = np.random.default_rng(0)
HAS = RNG.random((400, 3)) < 0.4
X = HAS @ RNG.normal(size=(3, 8)) + 0.2 * RNG.normal(size=(400, 8))
NAMES = ("a", "b", "c")
SETS = [tuple(NAMES[k] for k in np.flatnonzero(row)) for row in HAS]


def new() -> MultiLabelClassifier:
    return MultiLabelClassifier(num_features=128)


def test_matrices_and_collections_are_learned_alike() -> None:
    by_matrix = new().fit(X[:300], HAS[:300].astype(int))
    by_sets = new().fit(X[:300], SETS[:300])
    said = by_matrix.predict(X[300:])
    assert said.dtype == np.int64
    assert f1_score(HAS[300:], said, average="micro") > 0.95
    assert by_sets.classes_.tolist() == ["a", "b", "c"]
    binarizer = MultiLabelBinarizer(classes=NAMES).fit(SETS)
    assert by_sets.predict(X[300:]) == binarizer.inverse_transform(said)
    probabilities = by_matrix.predict_proba(X[300:])
    np.testing.assert_array_equal(probabilities, by_sets.predict_proba(X[300:]))
    assert probabilities.shape == (100, 3)
    assert by_matrix.score(X[300:], HAS[300:]) == by_sets.score(X[300:], SETS[300:]) > 0.9
    sparse = new().fit(X[:300], csr_matrix(HAS[:300].astype(int)))
    np.testing.assert_array_equal(sparse.predict(X[300:]), said)


def test_it_learns_part_by_part_is_saved_pickled_cloned_and_validated(tmp_path: Path) -> None:
    whole, parts = new().fit(X[:300], SETS[:300]), new()
    center = None
    for start in range(0, 300, 60):
        parts.partial_fit(X[start : start + 60], SETS[start : start + 60])
        center = parts.center_ if center is None else center
    assert parts.classes_.tolist() == whole.classes_.tolist()
    assert parts.score(X[300:], SETS[300:]) > 0.9
    whole.save(tmp_path / "model")
    for same in (MultiLabelClassifier.load(tmp_path / "model"), pickle.loads(pickle.dumps(whole))):
        np.testing.assert_array_equal(same.predict_proba(X[300:]), whole.predict_proba(X[300:]))
        assert same.predict(X[300:305]) == whole.predict(X[300:305])
        same.partial_fit(X[300:], [("d",)] * 100)
        assert same.classes_.tolist() == ["a", "b", "c", "d"]
    assert cross_val_score(clone(whole), X, HAS.astype(int), cv=2).min() > 0.85


def test_columns_without_examples_stay() -> None:
    model = new().fit(X, np.hstack([HAS, np.zeros((400, 1))]).astype(int))
    assert model.predict(X[:5]).shape == (5, 4)
    assert (model.predict_proba(X[:5])[:, 3] == 0).all()


@pytest.mark.parametrize(
    ("y", "reason"),
    [
        (["a"] * 400, r"row 0 \(from 0\) is 'a', not a collection"),
        ([1] * 400, "not a collection"),
        (2 * HAS.astype(int), "0 and 1 alone"),
        ([("a", None)] * 400, "several types|not a string"),
        ([("a", 1)] * 400, "one type"),
    ],
)
def test_other_targets_are_refused_with_a_way_out(y: Any, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        new().fit(X, y)


def test_what_was_learned_first_stays_the_form() -> None:
    model = new().fit(X, HAS.astype(int))
    with pytest.raises(InputError, match="indicator matrix at one time"):
        model.partial_fit(X, SETS)
    with pytest.raises(InputError, match="2 columns, but had 3"):
        model.partial_fit(X, HAS[:, :2].astype(int))
