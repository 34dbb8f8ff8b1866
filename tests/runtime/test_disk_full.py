"""A disk that fills at any write: nothing is lost, nothing is corrupt, and with room the run goes on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.small_disk import small_disk

from everlearn.errors import StorageError
from everlearn.journal import database
from everlearn.journal.digest import content_digest
from everlearn.runtime.commands.learn import LearnOutcome, LearnRequest, learn_stream
from everlearn.runtime.folder.run_folder import RunFolder, is_run_folder
from everlearn.runtime.history.verify import verify_run
from everlearn.stream.files.codes import CodesWriter
from everlearn.types import Example

MakeExamples = Callable[..., list[Example]]
SETTINGS = {
    "learner.closed_form.num_features": 64,
    "learner.closed_form.gram_bits": 10,
    "stream.batch_size": 32,
    "run.checkpoint_seconds": 0,
    "run.threads": 1,
}
DISK_MEGABYTES = 48


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    with small_disk(tmp_path / "disk", f"{DISK_MEGABYTES}m") as path:
        yield path


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory, clustered: MakeExamples) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("streams")
    for name, examples in (("a", clustered(400)), ("b", clustered(200, start=400))):
        size = len(examples[0].code.dense) if examples[0].code is not None else 0
        path = folder / f"{name}.parquet"
        with CodesWriter(path, coder_fingerprint="c", coder_config={}, dense_size=size) as writer:
            writer.write(examples)
    return folder / "a.parquet", folder / "b.parquet"


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, streams: tuple[Path, Path]
) -> list[tuple[str, str]]:
    """Fingerprint and journal of a run with room, after the first stream and after both."""
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    return [_ended(_learn(stream, run), run) for stream in streams]


def _learn(stream: Path, run: Path, **settings: Any) -> LearnOutcome:
    return learn_stream(LearnRequest(stream=str(stream), out=run, settings=SETTINGS | settings))


def _ended(outcome: LearnOutcome, run: Path) -> tuple[str, str]:
    with RunFolder.open_to_read(run) as folder:
        return str(outcome.summary["fingerprint"]), content_digest(folder.journal)


def _fill(disk: Path, free_kib: int) -> Path:
    status = os.statvfs(disk)
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(status.f_bavail * status.f_frsize - free_kib * 1024))
    return ballast


def _has_checkpoint(run: Path) -> bool:
    with RunFolder.open_to_read(run) as folder:
        return folder.checkpoints.newest(pytest.fail) is not None


def _check_told_and_sound(error: StorageError, run: Path) -> None:
    message = str(error)
    assert error.exit_code == 7
    assert str(run) in message
    assert any(reason in message for reason in ("No space left on device", "disk is full"))
    if not is_run_folder(run):
        return
    if _has_checkpoint(run):
        found = verify_run(run)
        assert found.is_valid, found.failed
    assert not list(run.rglob("*.tmp"))


# The lock; tables; first steps; first checkpoint; later steps, metrics, checkpoints; the report.
@pytest.mark.parametrize(
    "free_kib", [0, 4, 40, 120, 300, 500, 540, 570, 620, 800, 1100, 1500, 1900, 3000, 5500]
)
@pytest.mark.parametrize("wal_bytes", [32 << 20, 64 << 10])
def test_a_new_run_goes_on_when_there_is_room(
    disk: Path,
    streams: tuple[Path, Path],
    undisturbed: list[tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    free_kib: int,
    wal_bytes: int,
) -> None:
    # With the small log SQLite brings it into the main file again and again, on the full disk too.
    monkeypatch.setattr(database, "_WAL_BYTES", wal_bytes)
    run = disk / "run"
    ballast = _fill(disk, free_kib)
    with pytest.raises(StorageError) as told:
        _learn(streams[0], run)
    _check_told_and_sound(told.value, run)
    ballast.unlink()
    assert _ended(_learn(streams[0], run), run) == undisturbed[0]
    assert verify_run(run).is_valid


# The index of the log; the log; run.json (its settings change) and what is saved after it; the report.
@pytest.mark.parametrize("free_kib", [0, 4, 20, 36, 100, 300, 700, 1200, 2000, 4000])
def test_a_run_that_held_something_keeps_it_and_goes_on(
    disk: Path, streams: tuple[Path, Path], undisturbed: list[tuple[str, str]], free_kib: int
) -> None:
    run = disk / "run"
    first = _learn(streams[0], run)
    ballast = _fill(disk, free_kib)
    with pytest.raises(StorageError) as told:
        _learn(streams[1], run, **{"run.keep_versions": 7})
    _check_told_and_sound(told.value, run)
    with RunFolder.open_to_read(run) as folder:
        held = folder.journal.num_examples()
        assert held >= first.summary["examples"]
        assert folder.newest_checkpoint().step > 0
    ballast.unlink()
    assert _ended(_learn(streams[1], run, **{"run.keep_versions": 7}), run) == undisturbed[1]
    assert verify_run(run).is_valid


@pytest.mark.parametrize("free_kib", [0, 32, 34, 36, 40, 44, 48, 64, 200, 400, 700])
def test_a_run_without_anything_left_to_learn_stays_whole(
    disk: Path, streams: tuple[Path, Path], undisturbed: list[tuple[str, str]], free_kib: int
) -> None:
    run = disk / "run"
    _learn(streams[0], run)
    record = (run / "run.json").read_bytes()
    ballast = _fill(disk, free_kib)
    with pytest.raises(StorageError) as told:
        _learn(streams[0], run, **{"run.keep_versions": 7})
    _check_told_and_sound(told.value, run)
    assert (run / "run.json").read_bytes() == record or b'"keep_versions": 7' in (
        run / "run.json"
    ).read_bytes()
    ballast.unlink()
    assert _ended(_learn(streams[0], run, **{"run.keep_versions": 7}), run) == undisturbed[0]
