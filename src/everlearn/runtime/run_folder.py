"""A run folder: everything a run has learned and reported, saved so that no crash can tear it.

```
run.json                        the record, written last; names everything below that counts
state/000003.safetensors .json  the learner's state: tensors and JSON
state/000003.scores.json        prequential scores and experience accuracies
state/000003.pending.safetensors .json   examples whose targets are still to come (delayed labels)
codes/part-00001.parquet        codes of what was learned, so that it can be forgotten or merged
ids.sqlite                      ids taken, so that duplicates are refused
rejected.jsonl                  records that could not be used, with place and reason
metrics.parquet confusion.json matrix.json report.html     for readers
```
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from safetensors.torch import load_file, save_file

from everlearn.config import RunConfig
from everlearn.errors import RunError, StateError, StorageError
from everlearn.runtime.durable_files import (
    fsync_folder,
    replacing,
    sha256_of,
    storage_errors,
    write_json,
)
from everlearn.runtime.run_record import LearnerRecord, RunRecord, SavedFile, read_record
from everlearn.types import Json, State

__all__ = ["RunFolder", "is_run_folder"]

_RECORD = "run.json"
_OWN_NAMES = frozenset(
    {".lock", "ids.sqlite", "ids.sqlite-journal", "rejected.jsonl", "metrics.parquet", "confusion.json"}
    | {"matrix.json", "report.html"}
)


def is_run_folder(path: Path) -> bool:
    """Whether there is a run's record in the folder."""
    return (path / _RECORD).is_file()


class RunFolder:
    """A run folder, opened for reading or (under a lock) for writing.

    Use :meth:`create`, :meth:`open_to_write` or :meth:`open_to_read`; close a writer, or use it as
    a context manager.
    """

    def __init__(self, path: Path, record: RunRecord, lock: IO[str] | None) -> None:
        self.path = path
        self.record = record
        self._lock = lock

    @classmethod
    def create(cls, path: Path, config: RunConfig, learner: LearnerRecord) -> RunFolder:
        """Make a new run folder.

        Raises:
            RunError: The folder exists and holds something else, or is in use.
            StorageError: It cannot be made.
        """
        with storage_errors(path, "Nothing was learned yet."):
            try:
                path.mkdir(parents=True, exist_ok=True)
            except FileExistsError:
                raise RunError(f"{path} exists and is not a folder; choose another with --out") from None
        if is_run_folder(path):
            raise RunError(f"{path} already holds a run; choose another folder with --out")
        # A lock without a record is what a run leaves that crashed before its first save.
        foreign = [] if (path / ".lock").exists() else sorted(entry.name for entry in path.iterdir())
        if foreign:
            raise RunError(
                f"{path} is not empty and not a run folder (it holds {foreign[0]}); choose another with --out"
            )
        with storage_errors(path, "Nothing was learned yet."):
            lock = _acquire_lock(path)
            now = _now()
            folder = cls(
                path, RunRecord(created=now, updated=now, config=config.to_mapping(), learner=learner), lock
            )
            for name in ("state", "codes"):
                (path / name).mkdir(exist_ok=True)
            folder._remove_leftovers()
            for name in ("ids.sqlite", "ids.sqlite-journal", "rejected.jsonl"):
                (path / name).unlink(missing_ok=True)
        return folder

    @classmethod
    def open_to_write(cls, path: Path) -> RunFolder:
        """Open an existing run under its lock and remove what a crash left over.

        Raises:
            RunError: Not a run folder, of another format version, or in use.
            StateError: ``run.json`` is damaged.
        """
        read_record(path / _RECORD)
        with storage_errors(path):
            lock = _acquire_lock(path)
            try:
                folder = cls(path, read_record(path / _RECORD), lock)
                folder._remove_leftovers()
            except BaseException:
                lock.close()
                raise
        return folder

    @classmethod
    def open_to_read(cls, path: Path) -> RunFolder:
        """Open an existing run without a lock. Raises as :meth:`open_to_write`, but for the lock."""
        return cls(path, read_record(path / _RECORD), None)

    @property
    def config(self) -> RunConfig:
        """The run's settings."""
        return RunConfig.from_mapping(self.record.config, place=str(self.path / _RECORD))

    def load_state(self, name: str = "learner") -> State | None:
        """A saved state, its files verified; None where there is none.

        Args:
            name: "learner" or "pending".

        Raises:
            StateError: A file is missing, truncated or changed; the message names it.
        """
        for attempt in range(3):
            if f"{name}.tensors" not in self.record.state:
                return None
            try:
                data = json.loads(self._verified(f"{name}.data").read_text(encoding="utf-8"))
                return State(tensors=load_file(str(self._verified(f"{name}.tensors"))), data=data)
            except (FileNotFoundError, _MissingFile) as error:
                # A writer may have moved on to the next generation between two reads.
                newest = read_record(self.path / _RECORD)
                if attempt == 2 or newest.generation == self.record.generation:
                    raise StateError(str(error)) from None
                self.record = newest
        raise AssertionError("unreachable")

    def load_scores(self) -> dict[str, Json]:
        """Saved scores; empty before the first save. Raises StateError as :meth:`load_state`."""
        if "scores.data" not in self.record.state:
            return {}
        value: dict[str, Json] = json.loads(self._verified("scores.data").read_text(encoding="utf-8"))
        return value

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Turn failures to write into StorageErrors that say what is safe."""
        record = self.record
        try:
            with storage_errors(self.path):
                yield
        except StorageError as error:
            safe = (
                f"What was saved before ({record.counts.examples:,} examples) is intact"
                if record.generation
                else "Nothing had been saved before"
            )
            message = str(error).rstrip(". ")
            raise StorageError(
                f"{message}. {safe}; put that right, then run the same command again."
            ) from error

    def remove(self) -> None:
        """Delete a new run folder that holds nothing yet."""
        assert self.record.generation == 0, "the folder holds a run"
        self.close()
        for name in ("state", "codes"):
            shutil.rmtree(self.path / name, ignore_errors=True)
        for entry in self.path.iterdir():
            if _is_own(entry.name):
                with suppress(OSError):
                    entry.unlink()
        with suppress(OSError):
            self.path.rmdir()

    def commit(self, record: RunRecord, states: Mapping[str, State], scores: Mapping[str, Json]) -> None:
        """Save the next generation: state files first, ``run.json`` last.

        Args:
            record: What ``run.json`` shall say; generation, state files and time are filled in.
            states: The learner's state under "learner", waiting examples under "pending".
            scores: JSON kept beside them.

        Raises:
            StorageError: Writing failed; the previous generation is whole.
        """
        assert self._lock is not None, "the folder is open for reading only"
        generation = self.record.generation + 1
        files: dict[str, SavedFile] = {}
        with self.saving():
            for name, state in states.items():
                stem = f"{generation:06d}" if name == "learner" else f"{generation:06d}.{name}"
                path = self.path / "state" / f"{stem}.safetensors"
                with replacing(path) as temporary:
                    save_file(dict(state.tensors), str(temporary))
                files[f"{name}.tensors"] = self._saved(path)
                path = path.with_suffix(".json")
                write_json(path, dict(state.data))
                files[f"{name}.data"] = self._saved(path)
            path = self.path / "state" / f"{generation:06d}.scores.json"
            write_json(path, dict(scores))
            files["scores.data"] = self._saved(path)
            record = record.model_copy(update={"generation": generation, "state": files, "updated": _now()})
            write_json(self.path / _RECORD, record.model_dump(mode="json"), indent=1)
        self.record = record
        self._remove_leftovers()

    def _saved(self, path: Path) -> SavedFile:
        return SavedFile(file=str(path.relative_to(self.path)), sha256=sha256_of(path))

    def close(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _verified(self, role: str) -> Path:
        saved = self.record.state[role]
        path = self.path / saved.file
        if not path.is_file():
            raise _MissingFile(
                f"{path} is missing. Restore it from a copy of the run, or learn into a new folder."
            )
        if sha256_of(path) != saved.sha256:
            raise StateError(
                f"{path} is damaged: its content ({path.stat().st_size:,} bytes) does not match the "
                f"SHA-256 in {_RECORD}. Restore it from a copy of the run, or learn into a new folder."
            )
        return path

    def _remove_leftovers(self) -> None:
        keep = {saved.file for saved in self.record.state.values()} | {
            part.file for part in self.record.codes
        }
        with suppress(OSError):
            for name in ("state", "codes"):
                for entry in (self.path / name).iterdir():
                    if f"{name}/{entry.name}" not in keep:
                        entry.unlink()
                fsync_folder(self.path / name)
            for entry in self.path.glob(".*.tmp"):
                entry.unlink()


class _MissingFile(StateError):
    """A file of the state is not there; perhaps because a writer replaced it meanwhile."""


def _acquire_lock(path: Path) -> IO[str]:
    lock = (path / ".lock").open("a+", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read().strip() or "unknown"
        lock.close()
        raise RunError(
            f"{path} is in use by another everlearn (process {holder}); wait until it has ended"
        ) from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def _is_own(name: str) -> bool:
    return name in _OWN_NAMES or (name.startswith(".") and name.endswith(".tmp"))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
