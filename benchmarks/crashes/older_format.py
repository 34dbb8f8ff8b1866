"""A journal brought back to the first format, as an everlearn of that time would have written it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from everlearn.runtime.folder.run_folder import JOURNAL

__all__ = ["to_first_format"]

_BACK = (
    "DROP TABLE acts",
    "DROP TABLE certificates",
    "DROP INDEX rejections_by_excerpt",
    "DROP TABLE generations",
    "DROP TABLE tuned_codes",
    "ALTER TABLE checkpoints DROP COLUMN generation",
    "PRAGMA user_version = 1",
)


def to_first_format(run: Path) -> None:
    """Change the journal of a run that nobody has open; one that is of the first format stays as it is."""
    with closing(sqlite3.connect(run / JOURNAL, isolation_level=None)) as connection:
        if connection.execute("PRAGMA user_version").fetchone()[0] < 2:
            return
        if connection.execute("SELECT COUNT(*) FROM generations").fetchone()[0]:
            raise ValueError(f"{run} was consolidated, which the first format cannot say")
        connection.execute("BEGIN")
        for statement in _BACK:
            connection.execute(statement)
        connection.execute("COMMIT")
