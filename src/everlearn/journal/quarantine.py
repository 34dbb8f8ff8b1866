"""Examples that cannot be learned: their rows stay, and no fold learns them."""

from __future__ import annotations

from collections.abc import Sequence

from everlearn.journal.checksums import checksum
from everlearn.journal.history import History
from everlearn.journal.journal import Journal

__all__ = ["quarantine_examples"]

_COLUMNS = "offset, id, step, role, target, domain, time, fields"
_ROLE = 3


def quarantine_examples(journal: Journal, offsets: Sequence[int], *, first_step: int, reason: str) -> None:
    """Give examples that were to be learned the role ``quarantined``; a revision records it.

    Args:
        journal: The journal.
        offsets: The examples'.
        first_step: The first step whose state may hold something of them; states from there on are outdated.
        reason: Why, without what the examples say.
    """
    database = journal.database
    with database.transaction():
        History(database).revise(
            "unlearnable", first_step, journal.last_step, reason, {"examples": len(offsets)}
        )
        for offset in offsets:
            row = database.one(f"SELECT {_COLUMNS} FROM examples WHERE offset = ?", (offset,))
            values = (*row[:_ROLE], "quarantined", *row[_ROLE + 1 :])
            database.execute(
                "UPDATE examples SET role = 'quarantined', crc = ? WHERE offset = ?",
                (checksum(*values), offset),
            )
