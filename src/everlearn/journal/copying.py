"""Copies of a journal that somebody writes: of one moment, with the names of the files that belong to it."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from everlearn.journal.database import Database
from everlearn.journal.journal import Journal

__all__ = ["JournalCopy", "copy_database", "copy_journal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalCopy:
    """What a copied journal says of its run.

    Attributes:
        step: Its newest step.
        checkpoints: The files of saved states, with their SHA-256 (hex).
        generations: Of codes that tuned trunks made, beside the first.
    """

    step: int
    checkpoints: Mapping[str, str]
    generations: tuple[int, ...]


def copy_journal(path: Path, to: Path) -> JournalCopy:
    """Copy a journal as it is at one moment; another process may go on writing it.

    Args:
        path: The journal.
        to: The copy, a new file.

    Raises:
        RunError: It is no journal, or of another format.
        StateError: It is damaged or missing.
        StorageError: A log is there, and no room for the index that it needs.
    """
    database = Database.open_to_read(path)
    try:
        database.copy_to(to)
    finally:
        database.close()
    with Journal.open_to_read(to) as copy:
        return JournalCopy(
            step=copy.last_step,
            checkpoints={one.file: one.sha256 for one in copy.history.checkpoints()},
            generations=tuple(one.generation for one in copy.generations.all()),
        )


def copy_database(path: Path, to: Path) -> None:
    """Copy another SQLite file in the same way. Raises sqlite3.Error where that cannot be done."""
    with (
        closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as source,
        closing(sqlite3.connect(to, isolation_level=None)) as copy,
    ):
        source.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")
