"""Hugging Face data sets from local folders, and what is said where the library is missing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from everlearn.errors import InputError, MissingExtraError
from everlearn.stream import EndOfStream, Source, open_source
from everlearn.types import Cursor


def read(source: Source, cursor: Cursor | None = None) -> list[tuple[str, str | None, str | None]]:
    reader = source.open(cursor)
    found = []
    try:
        while True:
            found += [(e.id, e.text, e.target) for e in reader.next_batch(2)]
    except EndOfStream:
        return found
    finally:
        reader.close()


def test_saved_folders(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
    )
    table = datasets.Dataset.from_dict({"text": ["a", "b", "c"], "label": [1, 0, -1]}, features=features)
    table.save_to_disk(str(tmp_path / "single"))
    source = open_source(tmp_path / "single")
    expected = [("single:1", "a", "yes"), ("single:2", "b", "no"), ("single:3", "c", None)]
    assert read(source) == expected
    assert (source.name, source.count()) == ("single", 3)
    for row in range(4):
        assert read(source, {"row": row}) == expected[row:]

    splits = datasets.DatasetDict({"train": table, "test": table.select([2, 0])})
    splits.save_to_disk(str(tmp_path / "several"))
    assert read(open_source(f"hf:{tmp_path / 'several'}"))[0] == ("several:train:1", "a", "yes")
    assert read(open_source(f"hf:{tmp_path / 'several'}:test"))[1] == ("several:test:2", "a", "yes")
    with pytest.raises(InputError, match=r"no split 'dev'; name one of: test, train"):
        open_source(f"hf:{tmp_path / 'several'}:dev")
    with pytest.raises(InputError, match="has no splits"):
        open_source(f"hf:{tmp_path / 'single'}:train")


def test_a_folder_of_data_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "train.jsonl").write_text('{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}\n')
    assert read(open_source(folder)) == [("texts:train:1", "a", "x"), ("texts:train:2", "b", "y")]
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="empty is a folder and no data set"):
        open_source(empty)
    (empty / "train.jsonl").write_text("no JSON")
    with pytest.raises(InputError, match="cannot be loaded"):
        open_source(empty)


def test_the_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match="pip install datasets"):
        open_source("hf:somebody/something")
