"""``backup`` and ``restore``: a run or a hub as one file, also while it is served and goes on learning.

The journal is copied as it is at one moment; with it go the saved states that it names. What comes after that
moment is not in the backup, and what is in it is what a crash at that moment would have left: opened, the run
is at the journal's newest step, to the bit.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from everlearn.errors import RunError, StateError
from everlearn.journal.copying import JournalCopy, copy_database, copy_journal
from everlearn.runtime.commands.backup_archive import ArchiveWriter, unpack_archive, writing_archive
from everlearn.runtime.folder.run_folder import (
    CERTIFICATES,
    CHECKPOINTS,
    GENERAL_FILE,
    JOURNAL,
    METRICS,
    TRUNKS,
    is_run_folder,
)
from everlearn.runtime.hub.looking import RECORD, known_settings
from everlearn.runtime.hub.tenants import Tenants
from everlearn.types import Json

__all__ = ["BackupOutcome", "back_up", "restore"]

_SERVICE = "service"
_KEYS = "keys.json"
_RUN_RECORD = "run.json"
_TRIES = 10
"""Of a moment at which a writer does not replace a state that was just named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupOutcome:
    """What was backed up, or restored.

    Attributes:
        path: The archive; or the folder.
        steps: The newest step of each run, by its tenant's name; of a run that is no tenant, by "".
        num_files: Files.
        num_bytes: Size of the archive.
        notes: What else there is to tell, in sentences.
    """

    path: Path
    steps: dict[str, int]
    num_files: int
    num_bytes: int
    notes: Sequence[str] = ()

    def to_json(self) -> dict[str, Json]:
        """As printed by ``backup --json``."""
        return {
            "path": str(self.path),
            "steps": self.steps,
            "files": self.num_files,
            "bytes": self.num_bytes,
        }


@dataclass(slots=True)
class _Backup:
    archive: ArchiveWriter
    scratch: Path
    steps: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add_run(self, run: Path, prefix: str, name: str) -> None:
        """A run, as it is at one moment."""
        with ExitStack() as opened:
            record = (run / _RUN_RECORD).read_bytes()
            copy, states = self._copied(run, opened)
            changed = (run / _RUN_RECORD).read_bytes() != record
            if changed:  # its settings were changed meanwhile, which is rare
                self.notes.append(f"The settings of {run} were changed while it was backed up.")
            self._add_if_there(run, prefix, _RUN_RECORD)
            self.archive.add_file(f"{prefix}{JOURNAL}", self.scratch / JOURNAL)
            for state, file in states.items():
                self.archive.add(f"{prefix}{CHECKPOINTS}/{state}", file)
        for generation in (0, *copy.generations):
            for path in sorted((run / TRUNKS / f"generation-{generation:04d}").glob("*")):
                self.archive.add_file(f"{prefix}{path.relative_to(run).as_posix()}", path)
        for path in sorted((run / CERTIFICATES).glob("*.json")):
            self.archive.add_file(f"{prefix}{CERTIFICATES}/{path.name}", path)
        for name_for_readers in (METRICS, GENERAL_FILE):
            self._add_if_there(run, prefix, name_for_readers)
        self.steps[name] = copy.step

    def add_service(self, place: Path, *, with_keys: bool) -> None:
        """What a service keeps beside a run or hub.

        Before the runs: a label that was given meanwhile is then in the journal, and its prediction still
        there to be given one, which does no harm; the other way round it would be lost.
        """
        folder = place / _SERVICE
        for path in sorted(folder.glob("*.sqlite")):
            to = self.scratch / path.name
            try:
                copy_database(path, to)
            except sqlite3.DatabaseError as error:
                raise StateError(f"{path} cannot be copied: {error}; restore it, or delete it") from error
            self.archive.add_file(f"{_SERVICE}/{path.name}", to)
            to.unlink()
        if (folder / _KEYS).is_file():
            if with_keys:
                self.archive.add_file(f"{_SERVICE}/{_KEYS}", folder / _KEYS)
            else:
                self.notes.append(
                    "The service's keys are left out: without them what is restored answers this machine "
                    "only. Back up with --with-keys to have them, or make new ones then (everlearn keys add)."
                )

    def _copied(self, run: Path, opened: ExitStack) -> tuple[JournalCopy, dict[str, IO[bytes]]]:
        """The journal's copy, and the states that it names, open: whoever deletes them does no harm."""
        to = self.scratch / JOURNAL
        for attempt in range(_TRIES):
            to.unlink(missing_ok=True)
            copy = copy_journal(run / JOURNAL, to)
            states: dict[str, IO[bytes]] = {}
            missing = []
            for name in copy.checkpoints:
                try:
                    states[name] = opened.enter_context((run / CHECKPOINTS / name).open("rb"))
                except FileNotFoundError:
                    missing.append(name)
            if not missing or attempt == _TRIES - 1:
                self.notes += [
                    f"The state {name} of {run} is missing; it is folded again from the journal."
                    for name in missing
                ]
                break
        return copy, states

    def _add_if_there(self, run: Path, prefix: str, name: str) -> None:
        if (run / name).is_file():
            self.archive.add_file(f"{prefix}{name}", run / name)


def back_up(place: Path, out: Path, *, with_keys: bool = False) -> BackupOutcome:
    """Write a run or hub into an archive; it may be in use, and goes on learning meanwhile.

    Args:
        place: The run or hub.
        out: The archive, a new file.
        with_keys: Also what is stored of a service's keys, so that they hold for what is restored.

    Raises:
        RunError: There is neither, or something of the archive's name.
        StateError: Something saved is damaged.
        StorageError: The archive cannot be written.
    """
    is_hub = not is_run_folder(place)
    if is_hub and known_settings(place) is None:
        raise RunError(f"{place} is neither a run nor a hub; give the folder of one")
    if out.resolve().is_relative_to(place.resolve()):
        raise RunError(f"{out} lies within {place}; choose an --out that is not lost with it")
    with (
        writing_archive(out, "hub" if is_hub else "run") as archive,
        tempfile.TemporaryDirectory(prefix=".backup-", dir=out.parent) as scratch,
    ):
        backup = _Backup(archive, Path(scratch))
        backup.add_service(place, with_keys=with_keys)
        if is_hub:
            _add_hub(backup, place)
        else:
            backup.add_run(place, "", "")
        archive.finish({"steps": dict(backup.steps)})
    return BackupOutcome(
        path=out,
        steps=backup.steps,
        num_files=archive.num_files,
        num_bytes=out.stat().st_size,
        notes=tuple(backup.notes),
    )


def restore(archive: Path, out: Path) -> BackupOutcome:
    """Bring a backup into a new folder, every file verified by its checksum.

    Args:
        archive: What ``back_up`` has written.
        out: The folder of the run or hub.

    Raises:
        RunError: There is something of this name, or no such archive.
        StateError: The archive is cut off or damaged; nothing was restored.
        StorageError: The folder cannot be written.
    """
    told = unpack_archive(archive, out)
    return BackupOutcome(
        path=out,
        steps={str(name): int(step) for name, step in dict(told.get("steps") or {}).items()},
        num_files=int(told["num_files"]),
        num_bytes=archive.stat().st_size,
        notes=() if (out / _SERVICE / _KEYS).is_file() else (_no_keys(out),),
    )


def _no_keys(place: Path) -> str:
    return (
        f"There are no keys in it: `everlearn serve {place}` answers this machine only, without a key, until "
        f"`everlearn keys add {place}` makes one. A backup with --with-keys brings those that there were."
    )


def _add_hub(backup: _Backup, hub: Path) -> None:
    tenants = Tenants(hub, is_owner=False)
    backup.archive.add_file(RECORD, hub / RECORD)
    for name in tenants.names():
        try:
            _add_tenant(backup, hub, tenants, name)
        except (FileNotFoundError, RunError, StateError):
            if name in tenants:
                raise
            backup.notes.append(f"The tenant {name} was removed meanwhile.")


def _add_tenant(backup: _Backup, hub: Path, tenants: Tenants, name: str) -> None:
    folder = tenants.run_folder(name)
    if is_run_folder(folder):
        backup.add_run(folder, f"{folder.relative_to(hub).as_posix()}/", name)
    adapter = tenants.adapter_folder(name)
    for path in [] if adapter is None else sorted(adapter.glob("*")):
        backup.archive.add_file(path.relative_to(hub).as_posix(), path)
    backup.archive.add_file(f"tenants/{name}.json", hub / "tenants" / f"{name}.json")
