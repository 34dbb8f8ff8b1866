from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from tests.integrations.support_texts import ANSWERS, QUESTIONS, TEXTS, TOPICS

from everlearn.errors import ConfigError, InputError
from everlearn.integrations.sklearn import ClosedFormClassifier

X_WINE, Y_WINE = load_wine(return_X_y=True)


# Of a classifier of texts scikit-learn checks only that it can be cloned, as its data are arrays of
# numbers; tests further down stand in. It skips check_array_api_input unless SCIPY_ARRAY_API is set, and
# that check is for arrays of other libraries, which are not supported.
ESTIMATORS = [ClosedFormClassifier(), ClosedFormClassifier(scale=1.0), ClosedFormClassifier(num_features=64)]


@parametrize_with_checks(ESTIMATORS)  # type: ignore[untyped-decorator]
def test_check_of_scikit_learn(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)


@pytest.mark.parametrize("load", [load_iris, load_wine, load_digits])
def test_as_accurate_as_logistic_regression(load: Callable[..., Any]) -> None:
    X, y = load(return_X_y=True)
    reference = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    expected = cross_val_score(reference, X, y, cv=3).mean()
    assert cross_val_score(ClosedFormClassifier(), X, y, cv=3).mean() > expected - 0.01


def test_batches_give_what_all_at_once_gives() -> None:
    X = (X_WINE - X_WINE.mean(axis=0)) / X_WINE.std(axis=0)
    whole = ClosedFormClassifier(scale=1.0).fit(X, Y_WINE)
    parts = ClosedFormClassifier(scale=1.0)
    for start in range(0, len(X), 10):
        parts.partial_fit(X[start : start + 10], Y_WINE[start : start + 10])
        parts.predict(X)
    assert np.array_equal(whole.predict_proba(X), parts.predict_proba(X))
    order = np.random.default_rng(0).permutation(len(X))
    shuffled = ClosedFormClassifier(scale=1.0).fit(X[order], Y_WINE[order])
    assert np.allclose(whole.predict_proba(X), shuffled.predict_proba(X), atol=1e-6)


def test_scaling_is_that_of_the_first_call() -> None:
    X = np.array([[1.0, 5.0, 0.0], [3.0, 5.0, 0.0]])
    model = ClosedFormClassifier().partial_fit(X, [0, 1])
    assert model.center_.tolist() == [2.0, 5.0, 0.0]
    assert model.scale_.tolist() == [1.0, 5.0, 1.0]
    model.partial_fit(100 * X, [0, 1])
    assert model.center_.tolist() == [2.0, 5.0, 0.0]
    assert model.fit(100 * X, [0, 1]).center_.tolist() == [200.0, 500.0, 0.0]


def test_extreme_numbers_stay_finite() -> None:
    X = np.array([[1.7e308, 1e-320], [-1.7e308, 0.0], [1.0, 1.0], [0.0, -1.0]])
    probabilities = ClosedFormClassifier().fit(X, [0, 1, 0, 1]).predict_proba(X)
    assert np.isfinite(probabilities).all()


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), "wide"])
def test_wrong_scale_is_refused(scale: float) -> None:
    with pytest.raises(ConfigError, match="scale must be"):
        ClosedFormClassifier(scale=scale).fit(X_WINE, Y_WINE)


def test_new_labels_are_learned_as_they_come() -> None:
    model = ClosedFormClassifier()
    model.partial_fit(X_WINE[Y_WINE == 2], Y_WINE[Y_WINE == 2])
    assert model.classes_.tolist() == [2]
    model.partial_fit(X_WINE, Y_WINE)
    assert model.classes_.tolist() == [0, 1, 2]
    assert model.score(X_WINE, Y_WINE) > 0.9


def test_refused_first_call_leaves_it_unfitted() -> None:
    model = ClosedFormClassifier(seed=-1)
    with pytest.raises(ConfigError, match="seed"):
        model.partial_fit([[0.0], [1.0]], [0, 1])
    model.set_params(seed=1)
    assert model.partial_fit([[0.0], [1.0]] * 2, [0, 1] * 2).predict([[1.0]]).tolist() == [1]


def test_declared_classes_have_columns_and_exclude_others() -> None:
    model = ClosedFormClassifier()
    model.partial_fit([[0.0], [1.0]], ["b", "d"], classes=["d", "c", "b"])
    assert model.classes_.tolist() == ["b", "c", "d"]
    probabilities = model.predict_proba([[0.0], [1.0]])
    assert probabilities[:, 1].tolist() == [0.0, 0.0]
    assert np.allclose(probabilities.sum(axis=1), 1)
    with pytest.raises(ValueError, match="'a'"):
        model.partial_fit([[0.0]], ["a"])
    with pytest.raises(ValueError, match="before"):
        model.partial_fit([[0.0]], ["b"], classes=["b"])
    model.partial_fit([[0.5]], ["c"], classes=["b", "c", "d"])
    assert model.predict_proba([[0.5]])[0, 1] > 0


@pytest.mark.parametrize("labels", [[True, False], [1.5, 2.0], [7, -3], ["eins", "zwei"]])
def test_predicted_labels_are_those_learned(labels: list[Any]) -> None:
    # Fractions are refused by scikit-learn's convention: they are targets of a regression.
    if labels == [1.5, 2.0]:
        with pytest.raises(ValueError, match="label type"):
            ClosedFormClassifier().fit([[0.0], [1.0]], labels)
        return
    model = ClosedFormClassifier().fit([[0.0], [1.0]] * 3, labels * 3)
    assert model.predict([[0.0], [1.0]]).tolist() == labels
    assert model.predict([[0.0]]).dtype == np.array(labels).dtype


def test_column_names_are_kept() -> None:
    table = load_wine(as_frame=True).data
    model = ClosedFormClassifier().fit(table, Y_WINE)
    assert model.feature_names_in_.tolist() == table.columns.tolist()
    with pytest.raises(ValueError, match="feature names"):
        model.predict(table[table.columns[::-1]])


def test_settings_can_be_searched() -> None:
    search = GridSearchCV(ClosedFormClassifier(), {"num_features": [64, 256], "scale": [None, 0.5]}, cv=2)
    search.fit(X_WINE, Y_WINE)
    assert set(search.best_params_) == {"num_features", "scale"}
    assert search.best_score_ > 0.9


@pytest.fixture(scope="module")
def text_model() -> ClosedFormClassifier:
    return ClosedFormClassifier(model="minilm", num_features=256).fit(TEXTS, TOPICS)


def test_texts_are_learned(text_model: ClosedFormClassifier) -> None:
    assert text_model.predict(QUESTIONS).tolist() == ANSWERS
    assert text_model.score(np.array(TEXTS), TOPICS) == 1.0
    assert text_model.score(pd.Series(TEXTS, index=range(5, 13)), pd.Series(TOPICS)) == 1.0
    assert not hasattr(text_model, "n_features_in_")


def test_texts_work_in_a_pipeline_and_in_cross_validation() -> None:
    lower = FunctionTransformer(lambda texts: [text.lower() for text in texts])
    pipeline = make_pipeline(lower, ClosedFormClassifier(model="minilm", num_features=256))
    assert cross_val_score(pipeline, TEXTS, TOPICS, cv=2).mean() >= 0.75


def test_pickle_names_the_encoder_and_does_not_hold_it(text_model: ClosedFormClassifier) -> None:
    data = pickle.dumps(text_model)
    assert len(data) < 10_000_000  # the encoder alone has 45 million bytes
    assert np.array_equal(pickle.loads(data).predict_proba(QUESTIONS), text_model.predict_proba(QUESTIONS))


def test_text_classifier_is_cloned_unfitted(text_model: ClosedFormClassifier) -> None:
    fresh = clone(text_model)
    assert fresh.get_params() == text_model.get_params()
    assert not hasattr(fresh, "classes_")
    assert fresh.__sklearn_tags__().input_tags.string


@pytest.mark.parametrize("X", ["a text", {"a": 1}, [], ["a", 3], np.zeros((2, 2)), iter("ab")])
def test_what_is_no_list_of_texts_is_refused(X: Any, text_model: ClosedFormClassifier) -> None:
    with pytest.raises(InputError, match="text"):
        text_model.predict(X)


def test_numbers_of_texts_and_labels_must_agree() -> None:
    with pytest.raises(ValueError, match="inconsistent"):
        ClosedFormClassifier(model="minilm", num_features=256).fit(TEXTS, TOPICS[:-1])
