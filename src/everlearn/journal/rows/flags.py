"""Examples that looked suspicious when they came, and what somebody decided on them."""

from __future__ import annotations

from everlearn.journal.database import Database
from everlearn.journal.records import Flag

__all__ = ["Flags"]


class Flags:
    """The table of flags.

    Args:
        database: The journal's.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def unresolved(self, limit: int) -> list[Flag]:
        """Those on which nobody has decided, the most suspicious first."""
        rows = self._database.rows(
            "SELECT offset, reason, score, policy FROM flags WHERE resolved IS NULL "
            "ORDER BY score DESC, offset LIMIT ?",
            (limit,),
        )
        return [Flag(*row) for row in rows]

    def num_unresolved(self) -> int:
        """On how many nobody has decided."""
        return int(self._database.one("SELECT COUNT(*) FROM flags WHERE resolved IS NULL")[0])

    def offset_of(self, id_: str) -> int | None:
        """Where the flagged example with an id is; None: there is no flag on it."""
        row = self._database.first(
            "SELECT e.offset FROM examples e JOIN flags f ON f.offset = e.offset WHERE e.id = ?", (id_,)
        )
        return None if row is None else int(row[0])

    def resolution(self, offset: int) -> str | None:
        """What somebody decided on a flagged example; None: nothing yet."""
        resolved: str | None = self._database.one("SELECT resolved FROM flags WHERE offset = ?", (offset,))[0]
        return resolved

    def resolve(self, offset: int, resolved: str | None) -> None:
        """Note what somebody decided; None: nothing, after all."""
        self._database.execute("UPDATE flags SET resolved = ? WHERE offset = ?", (resolved, offset))
