"""How many rows of each kind a journal has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from everlearn.journal.journal import Journal

__all__ = ["RowCounts", "count_rows", "num_lacking_text"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowCounts:
    """Rows of a journal.

    Attributes:
        by_role: Examples of each role.
        by_source: Examples that came from each stream, by its key.
        num_set_aside: Steps that do not count.
        num_texts: Texts that are kept.
        num_changes: Late targets and corrections.
        num_readmitted: Examples that were learned after all.
        first_time: Of the first step; None: there is none.
        last_time: Of the last.
    """

    by_role: Mapping[str, int]
    by_source: Mapping[str, int]
    num_set_aside: int
    num_texts: int
    num_changes: int
    num_readmitted: int
    first_time: str | None
    last_time: str | None


def count_rows(journal: Journal) -> RowCounts:
    """Count them; reads much of a large journal."""
    database = journal.database
    first_time, last_time = database.one("SELECT MIN(time), MAX(time) FROM steps")
    return RowCounts(
        by_role=dict(database.all("SELECT role, COUNT(*) FROM examples GROUP BY role")),
        by_source=dict(
            database.all(
                "SELECT k.key, SUM(s.last_offset - s.first_offset + 1) FROM steps s "
                "JOIN sources k ON k.source = s.source WHERE s.first_offset IS NOT NULL GROUP BY 1"
            )
        ),
        num_set_aside=database.one("SELECT COUNT(*) FROM steps WHERE set_aside IS NOT NULL")[0],
        num_texts=database.one("SELECT COUNT(*) FROM texts")[0],
        num_changes=database.one("SELECT COUNT(*) FROM changes WHERE kind <> 'readmitted'")[0],
        num_readmitted=database.one("SELECT COUNT(*) FROM changes WHERE kind = 'readmitted'")[0],
        first_time=first_time,
        last_time=last_time,
    )


def num_lacking_text(journal: Journal) -> int:
    """Examples whose text is not kept; unlike ``Journal.num_without_text``, those that are set aside too."""
    row = journal.database.one(
        "SELECT COUNT(*) FROM examples e LEFT JOIN texts t ON t.offset = e.offset WHERE t.offset IS NULL"
    )
    return int(row[0])
