"""Several labels an example in river's own tools."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from river import checks, datasets, evaluate, linear_model, metrics, multioutput
from tests.integrations.support_texts import QUESTIONS, TEXTS, TOPICS

from everlearn.errors import InputError, StateError
from everlearn.integrations.river import ClosedFormClassifier
from everlearn.integrations.river_multilabel import MultiLabelClassifier

SMALL: dict[str, Any] = {"num_features": 128}
STREAM: list[tuple[dict[Any, Any], dict[str, bool]]] = [
    (
        {"a": float(a), "b": float(b)},
        {"right": bool(a > 0), "up": bool(b > 0), "far": bool(a * a + b * b > 2)},
    )
    for a, b in np.random.default_rng(0).normal(size=(200, 2))
]


def checks_of_river() -> list[Callable[[Any], None]]:
    """With a stream that river makes, where its checks load one from the network."""
    found = []
    for check in checks.yield_checks(MultiLabelClassifier(**SMALL)):
        if isinstance(check, partial) and "dataset" in check.keywords:
            check = partial(check.func, dataset=datasets.synth.Logical(n_tiles=1, seed=1))
        found.append(check)
    return found


@pytest.mark.parametrize(
    "check", checks_of_river(), ids=lambda check: str(getattr(check, "func", check).__name__)
)
def test_check_of_river(check: Callable[[Any], None]) -> None:
    check(MultiLabelClassifier(**SMALL))


def test_no_check_of_river_is_skipped() -> None:
    assert MultiLabelClassifier()._unit_test_skips() == set()


def micro_f1(model: Any) -> float:
    of_a_label: Any = metrics.F1  # river leaves these without annotations
    averaged: Any = metrics.multioutput.MicroAverage
    return float(evaluate.progressive_val_score(STREAM, model, averaged(of_a_label())).get())


def test_it_learns_better_than_a_chain_of_logistic_regressions() -> None:
    chain = multioutput.ClassifierChain(linear_model.LogisticRegression(), order=["right", "up", "far"])
    assert micro_f1(MultiLabelClassifier(**SMALL)) > micro_f1(chain)


def test_texts_have_none_one_or_several_labels() -> None:
    model = MultiLabelClassifier()
    assert model.predict_one(TEXTS[0]) == {}
    assert model.predict_proba_one(TEXTS[0]) == {}
    topics = sorted(set(TOPICS))
    both = f"{TEXTS[0]} {TEXTS[-1]}"
    for _ in range(2):
        for text, topic in zip(TEXTS, TOPICS, strict=True):
            model.learn_one(text, {one: one == topic for one in topics})
        model.learn_one(both, {TOPICS[0]: True, TOPICS[-1]: True})
        model.learn_one("", {})
    assert model.predict_one(both) == {one: one in (TOPICS[0], TOPICS[-1]) for one in topics}
    said = model.predict_proba_one(QUESTIONS[0])
    assert all(abs(one[True] + one[False] - 1) < 1e-9 for one in said.values())


def test_it_goes_on_where_it_was_saved(tmp_path: Path) -> None:
    model = MultiLabelClassifier(**SMALL)
    for x, y in STREAM[:60]:
        model.predict_one(x)
        model.learn_one(x, y)
    model.save(tmp_path / "model")
    loaded = MultiLabelClassifier.load(tmp_path / "model")
    for x, y in STREAM[60:80]:
        assert loaded.predict_proba_one(x) == model.predict_proba_one(x)
        model.learn_one(x, y)
        loaded.learn_one(x, y)
    assert set(loaded.predict_one({})) == {"right", "up", "far"}
    with pytest.raises(StateError):
        ClosedFormClassifier.load(tmp_path / "model")


@pytest.mark.parametrize("y", ["right", ["right"], None, {"right": "yes"}, {"right": 0.5}])
def test_what_is_no_dictionary_of_labels(y: Any) -> None:
    model = MultiLabelClassifier(**SMALL)
    with pytest.raises(InputError, match=r"^y"):
        model.learn_one({"a": 1.0}, y)
    assert model.predict_one({"a": 1.0}) == {}


def test_a_label_that_no_example_has_is_known_all_the_same() -> None:
    model = MultiLabelClassifier(**SMALL)
    for x, y in STREAM[:10]:
        model.learn_one(x, {**y, "never": False})
    assert model.predict_one(STREAM[0][0])["never"] is False
    assert model.predict_proba_one(STREAM[0][0])["never"] == {False: 1.0, True: 0.0}
