"""Opening a journal for writing: damage is looked for first, told, and passed over where that is safe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from everlearn.errors import RunError, StateError
from everlearn.journal.database import REPAIR_ADVICE, Database
from everlearn.journal.durable_files import fsync_folder
from everlearn.journal.journal import Journal
from everlearn.journal.repair.damaged_copies import keep_damaged
from everlearn.journal.repair.losses import record_incident
from everlearn.journal.repair.replacement import finish_replacement
from everlearn.journal.repair.soundness import find_problem, without_advice
from everlearn.journal.schema import SCHEMA_VERSION
from everlearn.journal.write_ahead_log import LogState, inspect_log

__all__ = [
    "OpenedJournal",
    "Part",
    "log_note",
    "open_journal",
    "sound_parts",
]


@dataclass(frozen=True, slots=True)
class OpenedJournal:
    """A journal, open for writing.

    Attributes:
        journal: The journal.
        notes: What was damaged and skipped, in sentences; empty: nothing.
    """

    journal: Journal
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """What can be read of a journal in one of two ways: with its log, or the main file alone.

    Attributes:
        problem: What is wrong with it; None: it is sound.
        last_step: Its newest step; -1: it cannot even be asked.
        is_foreign: Whether it says that it is of another format.
    """

    problem: str | None
    last_step: int
    is_foreign: bool = False


def open_journal(path: Path) -> OpenedJournal:
    """Open a journal for writing, under the lock of its run.

    After a clean end there is no write-ahead log, and the file is checked as far as that is quick. If
    there is one, a crash came, and both are checked together; as a whole, however large, where the log is
    damaged. A damaged log is copied aside, and the journal goes on from its last valid state.

    Raises:
        StateError: No valid state can be had without a repair. Nothing was changed.
        RunError: It is of a newer format, or no journal.
    """
    finish_replacement(path)
    log = inspect_log(path)
    notes: tuple[str, ...] = ()
    if log.num_bytes or log.damage:
        notes = _settle_log(path, log)
    was_older = _version_in(path) < SCHEMA_VERSION
    journal = Journal.open_to_write(path)
    try:
        if (was_older or not log.num_bytes) and (problem := find_problem(journal.database, whole=False)):
            raise StateError(f"{path} is damaged: {problem}. {REPAIR_ADVICE}")
        if notes:
            # Leftovers of the damaged log must not look like damage again.
            journal.empty_log()
            record_incident(journal, notes)
    except BaseException:
        journal.close()
        raise
    return OpenedJournal(journal, notes)


def _version_in(path: Path) -> int:
    """The journal's format by the file's header (SQLite's file format, 1.3.14), or the current one."""
    with path.open("rb") as file:
        header = file.read(64)
    return int.from_bytes(header[60:64], "big") if len(header) == 64 else SCHEMA_VERSION


def sound_parts(path: Path) -> tuple[Part, Part]:
    """The journal with its log, and the main file alone. Nothing is changed."""
    return _looked_at(path, with_log=True), _looked_at(path, with_log=False)


def log_note(path: Path, log: LogState) -> str:
    """What is wrong with a write-ahead log, and what SQLite leaves out because of it."""
    lost = (
        "a transaction (it may be one that a power failure cut off before it was acknowledged)"
        if log.num_lost == 1
        else f"{log.num_lost:,} transactions"
    )
    return f"The write-ahead log {path}-wal is damaged: {log.damage}. Skipped: {lost} after that."


def _settle_log(path: Path, log: LogState) -> tuple[str, ...]:
    """Make sure that what SQLite will recover is sound; returns what to tell."""
    with_log = _looked_at(path, with_log=True, whole=bool(log.damage))
    if with_log.is_foreign or (not log.damage and with_log.problem is None):
        return ()
    alone = _looked_at(path, with_log=False)
    # The main file may be newer than what is left of the log: all of it had been brought over.
    is_alone_better = alone.problem is None and (
        with_log.problem is not None or alone.last_step > with_log.last_step
    )
    if with_log.problem is not None and not is_alone_better:
        told = f"{log_note(path, log)} Then: " if log.damage else ""
        raise StateError(f"{path} is damaged: {told}{with_log.problem}. {REPAIR_ADVICE}")
    notes = []
    wal = path.with_name(f"{path.name}-wal")
    copy = keep_damaged(wal) if log.num_bytes else None
    if log.damage:
        notes.append(log_note(path, log))
    else:
        notes.append(f"The write-ahead log {wal} does not fit the journal ({with_log.problem}): skipped.")
    step = with_log.last_step
    if is_alone_better:
        step = alone.last_step
        for stale in (wal, path.with_name(f"{path.name}-shm")):
            stale.unlink(missing_ok=True)
        fsync_folder(path.parent)
    notes.append(
        f"The journal goes on after step {step:,}; what came later is read from its stream again, if that "
        "can be read again."
    )
    if copy is not None:
        notes.append(
            f"The damaged log is kept as {copy}. It may hold examples: the next `everlearn forget` deletes "
            "it."
        )
    return tuple(notes)


def _looked_at(path: Path, *, with_log: bool, whole: bool = True) -> Part:
    try:
        database = Database.open_to_check(path, with_log=with_log)
    except (StateError, RunError) as error:
        return Part(without_advice(error), -1, isinstance(error, RunError))
    try:
        is_older = database.version < SCHEMA_VERSION  # it is checked once it is up to date
        problem = None if is_older else find_problem(database, whole=whole)
        last_step = int(database.one("SELECT COALESCE(MAX(step), 0) FROM steps")[0])
        return Part(problem, last_step)
    except StateError as error:
        return Part(without_advice(error), -1)
    finally:
        database.close()
