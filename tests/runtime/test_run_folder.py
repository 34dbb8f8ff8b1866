from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from everlearn.config import RunConfig
from everlearn.errors import EverlearnError, RunError, StateError, StorageError
from everlearn.runtime.run_folder import RunFolder, is_run_folder
from everlearn.runtime.run_record import LearnerRecord
from everlearn.types import State

LEARNER = LearnerRecord(kind="closed-form")


def state_of(number: int) -> State:
    return State(
        {"sums": torch.full((50,), number), "half": torch.ones(3, dtype=torch.bfloat16)}, {"n": number}
    )


def saved_folder(path: Path, generations: int = 1) -> RunFolder:
    folder = RunFolder.create(path, RunConfig(), LEARNER)
    for number in range(1, generations + 1):
        folder.commit(folder.record, {"learner": state_of(number)}, {"score": number})
    return folder


def test_a_saved_state_comes_back(tmp_path: Path) -> None:
    saved_folder(tmp_path / "run", generations=3).close()
    folder = RunFolder.open_to_read(tmp_path / "run")
    state = folder.load_state()
    assert state is not None
    assert state.data == {"n": 3}
    assert torch.equal(state.tensors["sums"], torch.full((50,), 3))
    assert state.tensors["half"].dtype == torch.bfloat16
    assert folder.load_scores() == {"score": 3}
    assert folder.load_state("pending") is None
    assert folder.config == RunConfig()
    assert sorted(entry.name for entry in (tmp_path / "run" / "state").iterdir()) == [
        "000003.json",
        "000003.safetensors",
        "000003.scores.json",
    ]


def test_a_new_folder_has_nothing_to_load_and_can_be_removed(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", RunConfig(), LEARNER)
    assert folder.load_state() is None
    assert folder.load_scores() == {}
    assert not is_run_folder(tmp_path / "run")
    folder.remove()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["000001.safetensors", "000001.json", "000001.scores.json"])
@pytest.mark.parametrize("damage", ["truncated", "changed", "missing"])
def test_a_damaged_state_file_is_named(tmp_path: Path, name: str, damage: str) -> None:
    saved_folder(tmp_path / "run").close()
    path = tmp_path / "run" / "state" / name
    data = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(data[:-5])
    elif damage == "changed":
        path.write_bytes(data[:-5] + b"xxxxx")
    else:
        path.unlink()
    folder = RunFolder.open_to_read(tmp_path / "run")
    with pytest.raises(StateError, match=f"{name} is .*Restore it"):
        (folder.load_state(), folder.load_scores())


@pytest.mark.parametrize(
    ("change", "error", "expected"),
    [
        (
            {"format_version": 2, "everlearn_version": "9.0"},
            RunError,
            r"version 2 \(written by everlearn 9\.0\).*version 1",
        ),
        ({"format": "something"}, RunError, "not the record of an everlearn run"),
        ({"counts": {"examples": "many"}}, StateError, "run.json is damaged: counts.examples"),
        ({"surprise": 1}, StateError, "run.json is damaged: surprise"),
    ],
)
def test_foreign_records_are_refused(
    tmp_path: Path, change: dict[str, Any], error: type[EverlearnError], expected: str
) -> None:
    saved_folder(tmp_path / "run").close()
    path = tmp_path / "run" / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | change), encoding="utf-8")
    for opened in (RunFolder.open_to_read, RunFolder.open_to_write):
        with pytest.raises(error, match=expected):
            opened(tmp_path / "run")


def test_a_truncated_record_is_refused(tmp_path: Path) -> None:
    saved_folder(tmp_path / "run").close()
    path = tmp_path / "run" / "run.json"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(StateError, match=r"run\.json is damaged"):
        RunFolder.open_to_read(tmp_path / "run")


def test_folders_with_other_things_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work", encoding="utf-8")
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(RunError, match=r"thesis\.txt"):
        RunFolder.create(tmp_path / "mine", RunConfig(), LEARNER)
    with pytest.raises(RunError, match="not a folder"):
        RunFolder.create(tmp_path / "file", RunConfig(), LEARNER)
    with pytest.raises(RunError, match="is not a run folder"):
        RunFolder.open_to_write(tmp_path / "mine")


def test_one_writer_at_a_time_and_readers_beside_it(tmp_path: Path) -> None:
    folder = saved_folder(tmp_path / "run")
    source = "import sys; from pathlib import Path; from everlearn.runtime.run_folder import RunFolder\n"
    source += "from everlearn.errors import RunError\n"
    source += "assert RunFolder.open_to_read(Path(sys.argv[1])).load_state() is not None\n"
    source += "try: RunFolder.open_to_write(Path(sys.argv[1]))\n"
    source += "except RunError as error: print(error)"
    command = [sys.executable, "-c", source, str(tmp_path / "run")]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert f"in use by another everlearn (process {os.getpid()})" in printed
    folder.close()
    RunFolder.open_to_write(tmp_path / "run").close()


def test_a_reader_follows_a_writer_to_the_next_generation(tmp_path: Path) -> None:
    writer = saved_folder(tmp_path / "run")
    reader = RunFolder.open_to_read(tmp_path / "run")
    writer.commit(writer.record, {"learner": state_of(2)}, {})
    state = reader.load_state()
    assert state is not None
    assert state.data == {"n": 2}
    writer.close()


class Crash(BaseException):
    """Nothing may catch it, as nothing catches a power failure."""


@pytest.mark.parametrize("crash_at", range(4))
def test_a_crash_while_saving_leaves_the_generation_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crash_at: int
) -> None:
    folder = saved_folder(tmp_path / "run")
    replace, renames = os.replace, 0

    def crashing_replace(source: Any, target: Any) -> None:
        nonlocal renames
        renames += 1
        if renames > crash_at:
            raise Crash
        replace(source, target)

    monkeypatch.setattr(os, "replace", crashing_replace)
    with pytest.raises(Crash):
        folder.commit(folder.record, {"learner": state_of(2)}, {})
    monkeypatch.undo()
    folder.close()
    again = RunFolder.open_to_write(tmp_path / "run")
    state = again.load_state()
    assert state is not None
    assert state.data == {"n": 1}
    assert len(list((tmp_path / "run" / "state").iterdir())) == 3
    again.close()


def test_a_failed_save_says_what_is_safe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = saved_folder(tmp_path / "run")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StorageError, match=r"No space left.*saved before .* is intact"):
        folder.commit(folder.record, {"learner": state_of(2)}, {})
    folder.close()
