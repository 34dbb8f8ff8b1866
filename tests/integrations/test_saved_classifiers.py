"""Saved to a folder and loaded: the same predictions, and learning goes on as if nothing had been."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError
from tests.integrations.support_texts import QUESTIONS, TEXTS, TOPICS

from everlearn.errors import ConfigError, InputError, StateError
from everlearn.integrations import river, sklearn
from everlearn.integrations.label_names import loaded_label, saved_label

ROWS = np.random.default_rng(0).normal(size=(40, 3))
LABELS: dict[str, Any] = {
    "strings": np.array(["low", "high"])[(ROWS[:, 0] > 0).astype(int)],
    "numbers": (ROWS[:, 0] > 0).astype(int) * 7,
    "booleans": ROWS[:, 0] > 0,
    "objects": np.array(["low", "high"], dtype=object)[(ROWS[:, 0] > 0).astype(int)],
}


@pytest.mark.parametrize("kind", LABELS)
def test_numbers_of_scikit_learn_go_on(kind: str, tmp_path: Path) -> None:
    y = LABELS[kind]
    table = pd.DataFrame(ROWS, columns=["a", "b", "c"])
    size: Any = np.int64(128)  # as searches over settings give it
    model = sklearn.ClosedFormClassifier(num_features=size).fit(table[:30], y[:30])
    model.save(tmp_path / "model")
    loaded = sklearn.ClosedFormClassifier.load(tmp_path / "model")
    assert loaded.get_params() == model.get_params()
    assert loaded.classes_.dtype == model.classes_.dtype
    assert loaded.feature_names_in_.tolist() == ["a", "b", "c"]
    assert np.array_equal(loaded.predict_proba(table), model.predict_proba(table))
    for one in (model, loaded):
        one.partial_fit(table[30:], y[30:])
    assert np.array_equal(loaded.predict_proba(table), model.predict_proba(table))
    with pytest.raises(ValueError, match="feature names"):
        loaded.predict(table[["c", "b", "a"]])


def test_declared_classes_stay_declared(tmp_path: Path) -> None:
    model = sklearn.ClosedFormClassifier(num_features=64)
    model.partial_fit([[0.0], [1.0]], ["b", "d"], classes=["d", "c", "b"]).save(tmp_path)
    loaded = sklearn.ClosedFormClassifier.load(str(tmp_path))
    assert loaded.classes_.tolist() == ["b", "c", "d"]
    with pytest.raises(ValueError, match="'a'"):
        loaded.partial_fit([[0.0]], ["a"])


def test_texts_of_scikit_learn_go_on(tmp_path: Path) -> None:
    model = sklearn.ClosedFormClassifier(num_features=256).fit(TEXTS[:6], TOPICS[:6])
    model.save(tmp_path / "model")
    loaded = sklearn.ClosedFormClassifier.load(tmp_path / "model")
    for one in (model, loaded):
        one.partial_fit(TEXTS[6:], TOPICS[6:])
    assert np.array_equal(loaded.predict_proba(QUESTIONS), model.predict_proba(QUESTIONS))
    saved = b"".join(path.read_bytes() for path in (tmp_path / "model").iterdir())
    assert len(saved) < 10_000_000  # the encoder is named, not held
    assert b"password" not in saved
    manifest = json.loads((tmp_path / "model" / "everlearn.json").read_text())
    assert manifest["learner"]["inputs"]["dtype"] in ("bfloat16", "float32")  # what "auto" was here


def test_river_goes_on_with_numbers_and_texts(tmp_path: Path) -> None:
    streams: dict[str, list[tuple[Any, Any]]] = {
        "numbers": [({"a": a, f"b{int(c > 0)}": b}, a > 0) for a, b, c in ROWS.tolist()],
        "texts": list(zip(TEXTS, TOPICS, strict=True)),
    }
    for name, stream in streams.items():
        model = river.ClosedFormClassifier(num_features=128)
        half = len(stream) // 2
        for x, y in stream[:half]:
            model.predict_one(x)
            model.learn_one(x, y)
        model.save(tmp_path / name)
        loaded = river.ClosedFormClassifier.load(tmp_path / name)
        for x, y in stream[half:]:
            assert loaded.predict_proba_one(x) == model.predict_proba_one(x)
            model.learn_one(x, y)
            loaded.learn_one(x, y)
        assert loaded.predict_proba_one(stream[0][0]) == model.predict_proba_one(stream[0][0])
        assert type(loaded.predict_one(stream[0][0])) is type(model.predict_one(stream[0][0]))


def test_what_learned_nothing(tmp_path: Path) -> None:
    river.ClosedFormClassifier(on="body").save(tmp_path / "river")
    loaded = river.ClosedFormClassifier.load(tmp_path / "river")
    assert loaded.on == "body"
    assert loaded.predict_one({"body": "hello"}) is None
    with pytest.raises(NotFittedError):
        sklearn.ClosedFormClassifier().save(tmp_path / "sklearn")
    assert not (tmp_path / "sklearn").exists()


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    sklearn.ClosedFormClassifier(num_features=64).fit([[0.0], [1.0]], ["a", "b"]).save(tmp_path / "model")
    return tmp_path / "model"


def test_saved_again_in_place(saved: Path) -> None:
    model = sklearn.ClosedFormClassifier.load(saved)
    model.partial_fit([[9.0]], ["c"])
    model.save(saved)
    assert len(list(saved.iterdir())) == 2
    assert sklearn.ClosedFormClassifier.load(saved).classes_.tolist() == ["a", "b", "c"]


def test_a_save_that_fails_leaves_the_one_before(saved: Path) -> None:
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    model = sklearn.ClosedFormClassifier.load(saved)
    model.seed = object()  # type: ignore[assignment]
    with pytest.raises(InputError, match=r"seed=.*cannot be saved"):
        model.save(saved)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


def test_folders_of_others_are_left_alone(tmp_path: Path, saved: Path) -> None:
    model = sklearn.ClosedFormClassifier.load(saved)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds other files"):
        model.save(tmp_path)
    with pytest.raises(InputError, match="is a file"):
        model.save(tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_what_is_not_saved_or_damaged_is_told(saved: Path) -> None:
    with pytest.raises(StateError, match=r"holds no everlearn\.json"):
        sklearn.ClosedFormClassifier.load(saved.parent)
    with pytest.raises(StateError, match="load it with the class that saved it"):
        river.ClosedFormClassifier.load(saved)
    manifest, (tensors,) = saved / "everlearn.json", saved.glob("state-*")
    whole, text = tensors.read_bytes(), manifest.read_text()
    tensors.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(StateError, match="does not match its SHA-256"):
        sklearn.ClosedFormClassifier.load(saved)
    tensors.unlink()
    with pytest.raises(StateError, match="is missing"):
        sklearn.ClosedFormClassifier.load(saved)
    tensors.write_bytes(whole)
    manifest.write_text(text[:40])
    with pytest.raises(StateError, match="is damaged"):
        sklearn.ClosedFormClassifier.load(saved)
    manifest.write_text(text.replace('"format_version": 1', '"format_version": 2'))
    with pytest.raises(StateError, match="newer format"):
        sklearn.ClosedFormClassifier.load(saved)
    manifest.write_text(text.replace('"classes"', '"klasses"'))
    with pytest.raises(StateError, match="no classifier saved"):
        sklearn.ClosedFormClassifier.load(saved)


def test_another_encoder_of_that_name_is_refused(tmp_path: Path) -> None:
    sklearn.ClosedFormClassifier(num_features=64).fit(TEXTS, TOPICS).save(tmp_path)
    manifest = tmp_path / "everlearn.json"
    manifest.write_text(
        manifest.read_text().replace('"max_length": 256,\n   "dtype"', '"max_length": 64,\n   "dtype"')
    )
    with pytest.raises(StateError, match="does not fit"):
        sklearn.ClosedFormClassifier.load(tmp_path)


@pytest.mark.parametrize("label", ["a:b", "", 7, -1, True, False, 2.5, float("inf"), 1e-300, 10**30])
def test_labels_come_back_with_their_types(label: Any) -> None:
    again = loaded_label(saved_label(label))
    assert again == label
    assert type(again) is type(label)


def test_a_label_of_another_class_is_refused() -> None:
    class Topic(str):
        __slots__ = ()

    with pytest.raises(InputError, match="of type Topic"):
        saved_label(Topic("a"))
    assert issubclass(ConfigError, ValueError)
