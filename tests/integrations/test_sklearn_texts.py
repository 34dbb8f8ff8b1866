"""Texts in scikit-learn's own tools, with the default encoder."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, MultiLabelBinarizer
from tests.integrations.support_texts import ANSWERS, QUESTIONS, TEXTS, TOPICS

from everlearn.errors import InputError
from everlearn.integrations.sklearn import ClosedFormClassifier, SklearnClassifier

SMALL: dict[str, Any] = {"num_features": 256}


def test_texts_need_no_setting() -> None:
    model = ClosedFormClassifier().fit(TEXTS, TOPICS)
    assert model.predict(QUESTIONS).tolist() == ANSWERS
    assert model.score(pd.DataFrame({"text": TEXTS}), pd.Series(TOPICS)) == 1.0
    assert SklearnClassifier is ClosedFormClassifier


def test_cross_validation_of_any_form() -> None:
    for X in (TEXTS, np.array(TEXTS), pd.Series(TEXTS), pd.DataFrame({"text": TEXTS})):
        assert cross_val_score(ClosedFormClassifier(**SMALL), X, TOPICS, cv=2).mean() >= 0.75
    assert len(cross_val_predict(ClosedFormClassifier(**SMALL), TEXTS, TOPICS, cv=2)) == len(TEXTS)


def test_settings_are_searched_in_a_pipeline() -> None:
    lower = FunctionTransformer(lambda texts: [text.lower() for text in texts])
    pipeline = Pipeline([("lower", lower), ("classifier", ClosedFormClassifier())])
    search = GridSearchCV(pipeline, {"classifier__num_features": [64, 256]}, cv=2, error_score="raise")
    search.fit(TEXTS, TOPICS)
    assert search.predict(QUESTIONS).tolist() == ANSWERS
    assert clone(search.best_estimator_).get_params()["classifier__num_features"] in (64, 256)


def test_calibrated() -> None:
    model = CalibratedClassifierCV(ClosedFormClassifier(**SMALL), cv=2).fit(TEXTS, TOPICS)
    assert model.predict(QUESTIONS).tolist() == ANSWERS
    assert np.allclose(model.predict_proba(QUESTIONS).sum(axis=1), 1)


def test_texts_come_batch_by_batch() -> None:
    whole, parts = ClosedFormClassifier(**SMALL).fit(TEXTS, TOPICS), ClosedFormClassifier(**SMALL)
    for start in range(0, len(TEXTS), 2):
        parts.partial_fit(pd.Series(TEXTS[start : start + 2]), TOPICS[start : start + 2])
        parts.predict(QUESTIONS)
    assert np.array_equal(parts.predict_proba(QUESTIONS), whole.predict_proba(QUESTIONS))


def test_texts_and_numbers_do_not_mix() -> None:
    model = ClosedFormClassifier(**SMALL).fit([[0.0], [1.0]], [0, 1])
    with pytest.raises(InputError, match="X holds texts, but this classifier has learned numbers"):
        model.predict(["a text"])
    with pytest.raises(InputError, match="has learned numbers"):
        model.partial_fit(["a text"], [1])
    assert model.fit(TEXTS, TOPICS).predict(QUESTIONS).tolist() == ANSWERS
    assert not {"n_features_in_", "center_", "scale_"} & set(vars(model))
    with pytest.raises(InputError, match="X holds no texts, which this classifier has learned"):
        model.predict([[0.5]])
    with pytest.raises(InputError, match="which the encoder 'minilm' reads"):
        ClosedFormClassifier("minilm", **SMALL).fit([[0.0], [1.0]], [0, 1])


def test_two_columns_of_texts_can_be_joined() -> None:
    mail = pd.DataFrame({"subject": TEXTS, "body": "Thank you, Anna"})
    with pytest.raises(InputError, match=r"Join them.*ColumnTransformer"):
        ClosedFormClassifier(**SMALL).fit(mail, TOPICS)
    join = FunctionTransformer(lambda X: X["subject"] + " " + X["body"])
    model = make_pipeline(join, ClosedFormClassifier(**SMALL)).fit(mail, TOPICS)
    assert model.score(mail, TOPICS) == 1.0


def test_several_labels_a_row_are_refused_with_a_way_out() -> None:
    labels = [{"account"}, {"delivery"}, {"account", "delivery"}, set()] * 2
    binary = MultiLabelBinarizer().fit_transform(labels)
    targets: list[Any] = [binary, pd.DataFrame(binary), labels, [["a", "b"]] * 8]
    for y in targets:
        with pytest.raises(
            InputError, match=r"one label a row is learned.*MultiLabelClassifier.*OneVsRestClassifier"
        ):
            ClosedFormClassifier(**SMALL).fit(TEXTS, y)
    model = OneVsRestClassifier(ClosedFormClassifier(**SMALL)).fit(TEXTS, binary)
    assert model.predict(QUESTIONS).shape == (2, 2)
