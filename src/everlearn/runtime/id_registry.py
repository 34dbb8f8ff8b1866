"""Which ids a run has taken, in one SQLite table, so that bounded memory can refuse duplicates."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

from everlearn.errors import StateError

__all__ = ["IdRegistry"]

_CACHE_KIBIBYTES = 1_024


class IdRegistry:
    """The ids of a run.

    Rows carry the generation of the run that added or removed them. A crash between the commit
    here and the run's own record leaves rows of a generation that never was; they are undone when
    the registry is opened with the generation that is.

    Args:
        path: The SQLite file; made where it is missing.
        generation: The run's current generation.

    Raises:
        StateError: The file is damaged.
    """

    def __init__(self, path: Path, generation: int) -> None:
        self._path = path
        try:
            self._connection = sqlite3.connect(path, isolation_level=None)
            self._execute(f"PRAGMA cache_size = -{_CACHE_KIBIBYTES}")
            self._execute("PRAGMA synchronous = FULL")
            # A removed id may be somebody's name or address: overwrite it, don't just unlink it.
            self._execute("PRAGMA secure_delete = ON")
            self._execute(
                "CREATE TABLE IF NOT EXISTS ids (id TEXT PRIMARY KEY, added INTEGER NOT NULL,"
                " removed INTEGER) WITHOUT ROWID"
            )
            self._execute("CREATE INDEX IF NOT EXISTS removals ON ids (removed) WHERE removed IS NOT NULL")
            self._execute("DELETE FROM ids WHERE added > ?", (generation,))
            self._execute("UPDATE ids SET removed = NULL WHERE removed > ?", (generation,))
            self.purge()
            self._execute("BEGIN")
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            raise StateError(
                f"{path} is damaged ({error}). Delete it to go on without refusing ids learned so far."
            ) from None
        self._generation = generation

    def claim(self, ids: Iterable[str]) -> list[bool]:
        """Add ids; for each, whether it was new."""
        cursor = self._connection.cursor()
        added = self._generation + 1
        return [
            cursor.execute("INSERT OR IGNORE INTO ids (id, added) VALUES (?, ?)", (one, added)).rowcount > 0
            for one in ids
        ]

    def known(self, ids: Iterable[str]) -> list[bool]:
        """For each id, whether it is in the registry."""
        query = "SELECT 1 FROM ids WHERE id = ? AND removed IS NULL"
        return [self._execute(query, (one,)).fetchone() is not None for one in ids]

    def remove(self, ids: Sequence[str]) -> None:
        """Take ids out; final once the run has reached the next generation."""
        self._connection.executemany(
            "UPDATE ids SET removed = ? WHERE id = ?", [(self._generation + 1, one) for one in ids]
        )

    def add_all_of(self, other: Path) -> list[str]:
        """Add all ids of another registry file; returns (at most ten) ids that both have.

        Where there are any, nothing is added. What was claimed before is committed.
        """
        self._execute("COMMIT")
        self._execute("ATTACH DATABASE ? AS other", (str(other),))
        try:
            rows = self._execute(
                "SELECT main.ids.id FROM other.ids JOIN main.ids ON main.ids.id = other.ids.id"
                " WHERE other.ids.removed IS NULL LIMIT 10"
            ).fetchall()
            if not rows:
                self._execute(
                    "INSERT INTO main.ids (id, added) SELECT id, ? FROM other.ids WHERE removed IS NULL",
                    (self._generation + 1,),
                )
        finally:
            self._execute("DETACH DATABASE other")
            self._execute("BEGIN")
        return [row[0] for row in rows]

    def count(self) -> int:
        """Number of ids."""
        return int(self._execute("SELECT COUNT(*) FROM ids WHERE removed IS NULL").fetchone()[0])

    def commit(self, generation: int) -> None:
        """Make the changes durable, as part of what the run's ``generation`` will record."""
        self._execute("COMMIT")
        self._execute("BEGIN")
        self._generation = generation

    def purge(self) -> None:
        """Erase the rows of removed ids. Call once the run's record is written."""
        self._execute("DELETE FROM ids WHERE removed IS NOT NULL")
        if self._connection.in_transaction:
            self._execute("COMMIT")
            self._execute("BEGIN")

    def close(self) -> None:
        """Drop what was not committed and close the file."""
        if self._connection.in_transaction:
            self._execute("ROLLBACK")
        self._connection.close()

    def _execute(self, sql: str, values: tuple[object, ...] = ()) -> sqlite3.Cursor:
        return self._connection.execute(sql, values)
