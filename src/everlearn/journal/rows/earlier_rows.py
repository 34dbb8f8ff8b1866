"""What steps that are taken back out of the journal had changed of examples that came before them."""

from __future__ import annotations

import json

from everlearn.journal.checksums import checksum
from everlearn.journal.database import Database

__all__ = ["give_role", "restore_earlier_rows"]

_COLUMNS = "offset, id, step, role, target, domain, time, fields"
_ROLE = 3


def restore_earlier_rows(database: Database, step: int) -> None:
    """Give examples that stay the role back that later steps took from them, and open what these settled.

    Examples that could not be learned are to be learned again, and flags whose examples were readmitted
    await a decision.

    Args:
        database: The journal's, within the transaction that takes the steps out, before it does.
        step: The last one that stays.
    """
    database.execute(
        "UPDATE flags SET resolved = NULL WHERE resolved = 'accepted' AND offset IN "
        "(SELECT offset FROM changes WHERE step > ? AND kind = 'readmitted')",
        (step,),
    )
    # A state that stays may have been folded without what a revision that it knows of left out.
    known = database.one(
        "SELECT COALESCE(MAX(revision), 0) FROM (SELECT revision FROM checkpoints WHERE step <= ?1 "
        "UNION ALL SELECT revision FROM versions WHERE step <= ?1)",
        (step,),
    )[0]
    for revision, kind, last_step, detail in database.all(
        "SELECT revision, kind, last_step, detail FROM revisions WHERE revision > ? ORDER BY revision DESC",
        (known,),
    ):
        if kind != "unlearnable" or last_step <= step:
            break
        for offset in json.loads(detail).get("offsets", ()):
            give_role(database, offset, "learn")
        database.execute("DELETE FROM revisions WHERE revision = ?", (revision,))


def give_role(database: Database, offset: int, role: str) -> None:
    """Give an example another role; one that was deleted stays deleted."""
    row = database.first(f"SELECT {_COLUMNS} FROM examples WHERE offset = ?", (offset,))
    if row is not None:
        values = (*row[:_ROLE], role, *row[_ROLE + 1 :])
        database.execute(
            "UPDATE examples SET role = ?, crc = ? WHERE offset = ?", (role, checksum(*values), offset)
        )
