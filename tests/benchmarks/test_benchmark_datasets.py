"""Data sets by name, and what is said when they are not there."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from benchmarks.datasets import DatasetNotFoundError, Row, data_folder, load_rows
from benchmarks.environment import describe_environment, environment_line


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(gzip.compress(text.encode()))


def test_rows_keep_their_own_ids_and_get_line_numbers_otherwise(tmp_path: Path) -> None:
    _write(
        tmp_path / "toy" / "train.jsonl.gz",
        '{"text": "a\\r", "label": "x"}\n{"text": "b", "label": "y", "id": "k"}\n',
    )
    assert load_rows("toy", data=tmp_path) == [Row("train:1", "a\r", "x"), Row("k", "b", "y")]


def test_folder_is_taken_from_the_argument_then_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVERLEARN_DATA", str(tmp_path))
    assert data_folder() == tmp_path
    with pytest.raises(DatasetNotFoundError, match="EVERLEARN_DATA"):
        data_folder(tmp_path / "elsewhere")


def test_missing_set_says_where_it_is_published(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match="clinc/oos-eval"):
        load_rows("clinc150", data=tmp_path)


def test_environment_names_versions_and_no_host() -> None:
    environment = describe_environment()
    assert {"python", "torch", "transformers", "numpy"} <= set(environment["versions"])
    assert environment["cores"] >= 1
    assert str(environment["cpu"]) in environment_line(environment)
