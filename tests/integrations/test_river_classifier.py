from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from river import (
    base,
    checks,
    datasets,
    evaluate,
    feature_extraction,
    linear_model,
    metrics,
    naive_bayes,
    preprocessing,
)
from tests.integrations.support_texts import ANSWERS, QUESTIONS, TEXTS, TOPICS

from everlearn.errors import ConfigError, InputError
from everlearn.integrations.river import ClosedFormClassifier

SMALL: dict[str, Any] = {"num_features": 128}
TEXT: dict[str, Any] = {"model": "minilm", "num_features": 256}
BLOBS = [
    ({"a": float(a), "b": float(b)}, int(a > 0) + 2 * int(b > 0))
    for a, b in np.random.default_rng(0).normal(size=(60, 2))
]


def checks_without_data(model: base.Estimator) -> list[Callable[..., Any]]:
    return [check for check in checks.yield_checks(model) if "dataset" not in getattr(check, "keywords", {})]


def name_of(check: Callable[..., None]) -> str:
    return check.__name__


@pytest.mark.parametrize("check", list(checks.yield_checks(ClosedFormClassifier(**SMALL))), ids=name_of)
def test_check_of_river(check: Callable[[Any], None]) -> None:
    check(ClosedFormClassifier(**SMALL))


# River feeds every classifier dictionaries of numbers, so only its checks without data fit one for texts.
@pytest.mark.parametrize("check", checks_without_data(ClosedFormClassifier(**TEXT)), ids=name_of)
def test_check_of_river_for_texts(check: Callable[[Any], None]) -> None:
    check(ClosedFormClassifier(**TEXT))


def test_no_check_of_river_is_skipped() -> None:
    assert ClosedFormClassifier()._unit_test_skips() == set()


def accuracy_of(model: Any, stream: Any) -> float:
    """Prequential accuracy, by river."""
    accuracy: Any = metrics.Accuracy  # river leaves it without annotations
    return float(evaluate.progressive_val_score(stream, model, accuracy()).get())


def test_phishing_stream_is_learned_as_well_as_by_logistic_regression() -> None:
    reference = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    expected = accuracy_of(reference, datasets.Phishing())
    assert accuracy_of(ClosedFormClassifier(), datasets.Phishing()) > expected


def test_it_ends_a_pipeline() -> None:
    segments: Any = datasets.ImageSegments
    model = preprocessing.StandardScaler() | ClosedFormClassifier()
    reference: Any = naive_bayes.GaussianNB
    expected = accuracy_of(reference(), segments().take(300))
    assert accuracy_of(model, segments().take(300)) > expected


def test_settled_predictions_do_not_depend_on_earlier_ones() -> None:
    quiet, asked = ClosedFormClassifier(**SMALL), ClosedFormClassifier(**SMALL)
    for x, y in BLOBS:
        quiet.learn_one(x, y)
        asked.predict_one(x)
        asked.learn_one(x, y)
    quiet.settle()
    asked.settle()
    assert quiet.predict_proba_one(BLOBS[0][0]) == asked.predict_proba_one(BLOBS[0][0])


def test_second_label_after_many_of_one_is_told_apart_at_once() -> None:
    model = ClosedFormClassifier(**SMALL)
    for x, _ in BLOBS:
        model.learn_one({"a": -2.0 + 0.1 * x["a"]}, "common")
    assert model.predict_proba_one({"a": 2.0}) == {"common": 1.0}
    for x, _ in BLOBS[:4]:
        model.learn_one({"a": 2.0 + 0.1 * x["a"]}, "rare")
    assert model.predict_one({"a": 2.0}) == "rare"
    assert model.predict_one({"a": -2.0}) == "common"


def test_labels_keep_their_types() -> None:
    model = ClosedFormClassifier(**SMALL)
    for label in (True, "True", 2, 2.5):
        model.learn_one({"a": 1.0}, label)
    model.learn_one({"a": 1.0}, None)
    assert set(model.predict_proba_one({"a": 1.0})) == {True, "True", 2, 2.5}
    assert sum(model.predict_proba_one({"a": 1.0}).values()) == pytest.approx(1.0)


def test_tables_keep_their_index() -> None:
    model = ClosedFormClassifier(**SMALL)
    table = pd.DataFrame([x for x, _ in BLOBS], index=[f"row {k}" for k in range(len(BLOBS))])
    assert model.predict_many(table).isna().all()
    assert model.predict_proba_many(table).shape == (60, 0)
    model.learn_many(table, pd.Series([y for _, y in BLOBS]))
    probabilities = model.predict_proba_many(table)
    assert list(probabilities.index) == list(table.index)
    assert sorted(map(str, probabilities.columns)) == ["0", "1", "2", "3"]
    assert list(model.predict_many(table)) == list(probabilities.idxmax(axis="columns"))
    assert len(model.predict_many(table[:0])) == 0


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_predict_and_learn_alike(
    clone: Callable[[ClosedFormClassifier], ClosedFormClassifier],
) -> None:
    model = ClosedFormClassifier(**SMALL)
    for x, y in BLOBS[:30]:
        model.learn_one(x, y)
    other = clone(model)
    for x, y in BLOBS[30:]:
        model.learn_one(x, y)
        other.learn_one(x, y)
    for x, _ in BLOBS:
        assert model.predict_proba_one(x) == other.predict_proba_one(x)


def test_wrong_settings_are_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="num_features"):
        ClosedFormClassifier(num_features=1)
    with pytest.raises(ConfigError, match="refresh_growth"):
        ClosedFormClassifier(refresh_growth=1.0)


def test_wrong_inputs_are_named() -> None:
    with pytest.raises(InputError, match="neither a text nor a dictionary"):
        ClosedFormClassifier().learn_one(3, 1)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"'colour' holds a text.*\('size'\)"):
        ClosedFormClassifier().learn_one({"colour": "red", "size": 1.0}, 1)
    model = ClosedFormClassifier(on="body", **TEXT)
    with pytest.raises(InputError, match="no field 'body'"):
        model.learn_one({"subject": "hello"}, 1)
    with pytest.raises(InputError, match="3 is not a text"):
        model.learn_one({"body": 3}, 1)
    assert model.predict_one({"body": "hello"}) is None


def test_texts_are_learned_one_by_one() -> None:
    model = ClosedFormClassifier(**TEXT)
    for text, topic in zip(TEXTS, TOPICS, strict=True):
        model.learn_one(text, topic)
    assert [model.predict_one(question) for question in QUESTIONS] == ANSWERS
    assert base.tags.TEXT_INPUT in model._tags
    # The encoder, of 90 MB, is named and not held.
    assert len(pickle.dumps(model)) < 2_000_000
    assert [copy.deepcopy(model).predict_one(question) for question in QUESTIONS] == ANSWERS


def test_texts_in_a_field_are_learned_in_a_table() -> None:
    model = ClosedFormClassifier(on="body", **TEXT)
    model.learn_many(pd.DataFrame({"body": TEXTS, "length": 3}), pd.Series(TOPICS))
    assert list(model.predict_many(pd.DataFrame({"body": QUESTIONS}))) == ANSWERS
    assert list(model.predict_many(pd.Series(QUESTIONS, index=["x", "y"])).items()) == [
        ("x", "account"),
        ("y", "delivery"),
    ]
    assert model.predict_one({"body": QUESTIONS[1]}) == ANSWERS[1]


def test_texts_need_no_setting() -> None:
    model = ClosedFormClassifier(num_features=256)
    for text, topic in zip(TEXTS, TOPICS, strict=True):
        model.learn_one({"body": text} if topic == "account" else text, topic)
    assert [model.predict_one({"any name": question}) for question in QUESTIONS] == ANSWERS
    assert list(model.predict_many(pd.DataFrame({"body": QUESTIONS}))) == ANSWERS


def test_a_batch_is_as_its_texts_one_by_one() -> None:
    one, many = ClosedFormClassifier(num_features=256), ClosedFormClassifier(num_features=256)
    for text, topic in zip(TEXTS, TOPICS, strict=True):
        one.learn_one(text, topic)
    many.learn_many(pd.Series(TEXTS), pd.Series(TOPICS))
    one.settle()
    many.settle()
    assert one.predict_proba_one(QUESTIONS[0]) == many.predict_proba_one(QUESTIONS[0])


def test_texts_and_numbers_do_not_mix() -> None:
    numbers, texts = ClosedFormClassifier(**SMALL), ClosedFormClassifier(num_features=256)
    numbers.learn_one({"a": 1.0}, "x")
    texts.learn_one("a text", "x")
    with pytest.raises(InputError, match="'a text' is a text, but numbers are learned here"):
        numbers.predict_one("a text")
    with pytest.raises(InputError, match="holds no text, but texts are learned here"):
        texts.learn_one({"a": 1.0}, "y")
    with pytest.raises(InputError, match="holds no text"):
        texts.learn_one({"body": None}, "y")
    with pytest.raises(InputError, match="holds no text"):
        ClosedFormClassifier(model="minilm").learn_one({"a": 1.0}, "x")
    assert texts.predict_proba_one("b") == {"x": 1.0}


def test_several_labels_of_an_example_are_refused() -> None:
    for labels in ({"a": True}, ["a", "b"], {"a", "b"}):
        with pytest.raises(InputError, match="one label here"):
            ClosedFormClassifier(**SMALL).learn_one({"a": 1.0}, labels)  # type: ignore[arg-type]


def test_bags_of_words_are_learned_as_numbers() -> None:
    model: Any = feature_extraction.BagOfWords() | ClosedFormClassifier(num_features=256)
    for text, topic in zip(TEXTS * 4, TOPICS * 4, strict=True):
        model.learn_one(text, topic)
    assert [model.predict_one(text) for text in TEXTS] == TOPICS
    narrow: Any = feature_extraction.BagOfWords() | ClosedFormClassifier(num_features=256, num_columns=8)
    with pytest.warns(UserWarning, match="give the text itself"):
        narrow.learn_one("more words than there are columns for words to keep apart", "x")
