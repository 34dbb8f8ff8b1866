from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from everlearn.errors import EverlearnError, RunError, StateError, StorageError
from everlearn.journal.records import NewStep
from everlearn.runtime.folder.run_folder import RunFolder, is_run_folder
from everlearn.settings import RunConfig
from everlearn.tasks.records import LearnerRecord, RunStatus
from everlearn.types import State

LEARNER = LearnerRecord(kind="closed-form")


def state_of(number: int) -> State:
    return State(
        {"sums": torch.full((50,), number), "half": torch.ones(3, dtype=torch.bfloat16)}, {"n": number}
    )


def saved_folder(path: Path, steps: int = 1) -> RunFolder:
    folder = RunFolder.create(path, RunConfig(), LEARNER)
    for number in range(1, steps + 1):
        save(folder, number)
    return folder


def save(folder: RunFolder, number: int) -> None:
    folder.journal.append(NewStep(), keep_text=False)
    folder.save(state_of(number), RunStatus(summary={"score": number}))


def test_a_saved_state_comes_back(tmp_path: Path) -> None:
    saved_folder(tmp_path / "run", steps=4).close()
    with RunFolder.open_to_read(tmp_path / "run") as folder:
        checkpoint = folder.newest_checkpoint()
        assert checkpoint.learner.data == {"n": 4}
        assert torch.equal(checkpoint.learner.tensors["sums"], torch.full((50,), 4))
        assert checkpoint.learner.tensors["half"].dtype == torch.bfloat16
        assert RunStatus.model_validate(checkpoint.run).summary == {"score": 4}
        assert folder.config == RunConfig()
    assert sorted(entry.name for entry in (tmp_path / "run" / "checkpoints").iterdir()) == [
        "step-00000003.safetensors",
        "step-00000004.safetensors",
    ]


def test_a_new_folder_has_nothing_to_load_and_can_be_removed(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", RunConfig(), LEARNER)
    with pytest.raises(RunError, match="holds nothing learned yet"):
        folder.newest_checkpoint()
    assert is_run_folder(tmp_path / "run")
    folder.remove()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("damage", ["truncated", "changed", "missing"])
def test_a_damaged_state_is_passed_over_and_named(tmp_path: Path, damage: str) -> None:
    saved_folder(tmp_path / "run", steps=2).close()
    path = tmp_path / "run" / "checkpoints" / "step-00000002.safetensors"
    data = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(data[:-5])
    elif damage == "changed":
        path.write_bytes(data[:-5] + b"xxxxx")
    else:
        path.unlink()
    with RunFolder.open_to_read(tmp_path / "run") as folder:
        skipped: list[str] = []
        checkpoint = folder.checkpoints.newest(skipped.append)
        assert checkpoint is not None
        assert checkpoint.step == 1
        assert len(skipped) == 1
        assert str(path) in skipped[0]
        assert "missing" in skipped[0] if damage == "missing" else "SHA-256" in skipped[0]
        (tmp_path / "run" / "checkpoints" / "step-00000001.safetensors").write_bytes(b"")
        with pytest.raises(StateError, match=r"no saved state .* can be used: .*step-00000002"):
            folder.newest_checkpoint()


@pytest.mark.parametrize(
    ("change", "error", "expected"),
    [
        (
            {"format_version": 3, "everlearn_version": "9.0"},
            RunError,
            r"version 3 \(written by everlearn 9\.0\).*version 2",
        ),
        ({"format": "something"}, RunError, "not the record of an everlearn run"),
        ({"learner": {"kind": 7}}, StateError, "run.json is damaged: learner.kind"),
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
    source = (
        "import sys; from pathlib import Path; from everlearn.runtime.folder.run_folder import RunFolder\n"
    )
    source += "from everlearn.errors import RunError\n"
    source += "with RunFolder.open_to_read(Path(sys.argv[1])) as reader: reader.newest_checkpoint()\n"
    source += "try: RunFolder.open_to_write(Path(sys.argv[1]))\n"
    source += "except RunError as error: print(error)"
    command = [sys.executable, "-c", source, str(tmp_path / "run")]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert f"in use by another everlearn (process {os.getpid()} on " in printed
    with pytest.raises(
        RunError, match="open in this process already; use what opened it, or close that first"
    ):
        RunFolder.open_to_write(tmp_path / "run")
    folder.close()
    RunFolder.open_to_write(tmp_path / "run").close()


def test_a_reader_follows_a_writer(tmp_path: Path) -> None:
    with (
        saved_folder(tmp_path / "run") as writer,
        RunFolder.open_to_read(tmp_path / "run") as reader,
    ):
        for number in range(2, 6):
            save(writer, number)
            assert reader.newest_checkpoint().learner.data == {"n": number}


class Crash(BaseException):
    """Nothing may catch it, as nothing catches a power failure."""


def test_a_crash_while_saving_leaves_the_state_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = saved_folder(tmp_path / "run")

    def crash(*_: Any) -> None:
        raise Crash

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(Crash):
        save(folder, 2)
    monkeypatch.undo()
    folder.close()
    with RunFolder.open_to_write(tmp_path / "run") as again:
        assert again.journal.last_step == 2
        assert again.newest_checkpoint().learner.data == {"n": 1}
        assert len(list((tmp_path / "run" / "checkpoints").iterdir())) == 1


def test_a_failed_save_says_what_is_safe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = saved_folder(tmp_path / "run")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StorageError, match=r"No space left.*journaled before is intact"):
        save(folder, 2)
    monkeypatch.undo()
    assert folder.newest_checkpoint().learner.data == {"n": 1}
    folder.close()


def test_states_from_before_a_change_of_history_do_not_count(tmp_path: Path) -> None:
    with saved_folder(tmp_path / "run", steps=2) as folder:
        folder.history.revise("quarantine", 2, 2, "bad batch", {})
        assert folder.newest_checkpoint().step == 1
        folder.remove_outdated()
        assert [one.step for one in folder.history.checkpoints()] == [1]
        save(folder, 3)
        assert folder.newest_checkpoint().step == 3
        folder.history.revise("deletion", 1, 3, "all", {})
        with pytest.raises(StateError, match="older than a deletion or rollback"):
            folder.newest_checkpoint()


def test_of_two_states_after_one_step_the_later_is_the_newest(tmp_path: Path) -> None:
    with RunFolder.create(
        tmp_path / "run", RunConfig().with_settings({"run.keep_checkpoints": 1}), LEARNER
    ) as folder:
        folder.journal.append(NewStep(), keep_text=False)
        for number in range(1, 13):  # "step-…-2" comes before "step-…-10", and before "step-….safetensors"
            saved = folder.save(state_of(number), RunStatus())
            assert (folder.path / "checkpoints" / saved.file).is_file()
            assert folder.newest_checkpoint().learner.data == {"n": number}
        with pytest.raises(StateError, match="knows of no checkpoint lost"):
            folder.checkpoints.generation_of("lost")
