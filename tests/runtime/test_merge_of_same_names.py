"""Runs over files of one name are merged as one run over both would have learned them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.conftest import write_codes_file

from everlearn.errors import RunError
from everlearn.runtime.commands.learn import LearnRequest, learn_stream
from everlearn.runtime.deletion.forget import forget_in_run
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.history.merge import merge_runs
from everlearn.runtime.history.verify import verify_run
from everlearn.types import Example

Settings = dict[str, Any]
Clustered = Callable[..., list[Example]]


def _numbered(examples: Sequence[Example], name: str = "train") -> list[Example]:
    """With the ids that a file of that name gives its lines."""
    return [replace(one, id=f"{name}:{k}") for k, one in enumerate(examples, start=1)]


def _file(folder: Path, examples: Sequence[Example], name: str = "train") -> Path:
    folder.mkdir(exist_ok=True)
    return write_codes_file(folder / f"{name}.parquet", examples)


def _learn(stream: Path, out: Path, settings: Settings | None = None) -> dict[str, Any]:
    return learn_stream(LearnRequest(stream=str(stream), out=out, settings=settings or {})).summary


def _ids(run: Path) -> list[str]:
    with RunFolder.open_to_read(run) as folder:
        return [row[0] for row in folder.journal.database.all("SELECT id FROM examples ORDER BY offset")]


def test_lines_of_files_of_one_name_are_told_apart(
    tmp_path: Path, clustered: Clustered, small: Settings
) -> None:
    # A sample that does not hold everything: which members it has depends on their ids.
    small |= {"learner.closed_form.sample_size": 64}
    parts = [_numbered(clustered(80, start=1_000 * k)) for k in range(3)]
    files = [_file(tmp_path / f"day{k}", part) for k, part in enumerate(parts)]
    runs = [tmp_path / f"run{k}" for k in range(3)]
    for file, run in zip(files, runs, strict=True):
        _learn(file, run, small)
    one_run = tmp_path / "one"
    for k, file in enumerate(files):
        fingerprint = _learn(file, one_run, {} if k else small)["fingerprint"]
    merged = merge_runs(runs, tmp_path / "merged")
    assert _ids(tmp_path / "merged") == _ids(one_run)
    assert merged["fingerprint"] == fingerprint
    assert verify_run(tmp_path / "merged").is_valid
    # Each goes on with its own streams, under the names that it has now.
    longer = _file(tmp_path / "day3", _numbered(clustered(40, start=9_000)))
    assert _learn(longer, tmp_path / "merged")["fingerprint"] == _learn(longer, one_run)["fingerprint"]
    assert forget_in_run(tmp_path / "merged", ids=["train:7@2"]).num_forgotten == 1


def test_what_is_the_same_or_cannot_be_told_apart_is_refused(
    tmp_path: Path, clustered: Clustered, small: Settings
) -> None:
    first, second = _numbered(clustered(30)), _numbered(clustered(30, start=500))
    _learn(_file(tmp_path / "x", first), tmp_path / "a", small)
    _learn(_file(tmp_path / "y", first), tmp_path / "copy", small)
    _learn(_file(tmp_path / "z", second), tmp_path / "b", small)
    _learn(_file(tmp_path / "z", second[3:9], "other"), tmp_path / "given", small)
    with pytest.raises(RunError, match=r"have both learned .*train"):
        merge_runs([tmp_path / "a", tmp_path / "copy"], tmp_path / "merged")
    with pytest.raises(RunError, match=r"train:4.*ids of its own \(--id-field\)"):
        merge_runs([tmp_path / "a", tmp_path / "given"], tmp_path / "merged")
    forget_in_run(tmp_path / "b", ids=["train:2"])
    with pytest.raises(RunError, match=r"deleted ones can no longer be told apart: learn .*--id-field"):
        merge_runs([tmp_path / "a", tmp_path / "b"], tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
    merge_runs([tmp_path / "b", tmp_path / "a"], tmp_path / "merged")
    assert len(_ids(tmp_path / "merged")) == len(set(_ids(tmp_path / "merged"))) == 59
