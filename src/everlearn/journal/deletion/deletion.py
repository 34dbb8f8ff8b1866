"""Deleting examples from a journal: rows, words and all, with a record that does not name them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from everlearn.journal.journal import Journal
from everlearn.journal.rows.entries import all_ids
from everlearn.types import Json

__all__ = ["adopt_deletions", "delete_examples", "first_step_of"]

_TABLES = ("codes", "texts", "predictions", "flags", "changes", "examples")


def first_step_of(journal: Journal, offsets: Sequence[int]) -> int:
    """The first step that has to do with any of these examples."""
    return min(journal.examples.step_of(offset) for offset in offsets)


def delete_examples(
    journal: Journal, offsets: Sequence[int], *, reason: str, detail: Mapping[str, Json]
) -> int:
    """Delete examples; returns the number of the revision that records it.

    Their content is overwritten in the file. What stays is a keyed hash of each id, so that a deleted
    example is rejected when it comes again. Versions that may hold them are retired. Call it within a
    transaction together with what else must happen with it, and ``Journal.empty_log`` afterwards.

    Args:
        journal: The journal.
        offsets: The examples'.
        reason: Recorded.
        detail: Recorded; must not name the examples.
    """
    database, history = journal.database, journal.history
    ids: list[str] = []
    texts: list[str | None] = []
    with database.transaction():
        first_step = first_step_of(journal, offsets)
        revision = history.revise(
            "deletion",
            first_step,
            journal.last_step,
            reason,
            {**detail, "num_forgotten": len(offsets)},
        )
        for offset in offsets:
            id_, text = database.one(
                "SELECT e.id, t.text FROM examples e LEFT JOIN texts t ON t.offset = e.offset "
                "WHERE e.offset = ?",
                (offset,),
            )
            ids.append(id_)
            texts.append(text)
            database.execute(
                "INSERT OR REPLACE INTO deleted VALUES (?, ?)", (journal.deleted_ids.digest_of(id_), revision)
            )
            for table in _TABLES:
                database.execute(f"DELETE FROM {table} WHERE offset = ?", (offset,))
            journal.generations.delete_offset(offset)
        journal.rejections.forget(ids, texts)
        for version in history.versions():
            if version.step >= first_step and version.status == "kept":
                history.write_version(
                    replace(version, status="retired", file=None, reason=f"deletion {revision}: {reason}")
                )
    return revision


def adopt_deletions(source: Journal, into: Journal, *, reason: str) -> None:
    """Let ids that were deleted from one journal be rejected by another one too.

    Not those that the other one holds an example of: it did not come from the one that deleted it.
    """
    digests = {row[0] for row in source.database.rows("SELECT digest FROM deleted")}
    if digests:
        for id_ in all_ids(into):
            digests.difference_update(source.deleted_ids.digests_of(id_))
    if not digests:
        return
    count = source.history.num_forgotten()
    with into.database.transaction():
        revision = into.history.revise("deletion", 0, 0, reason, {"num_forgotten": count})
        into.database.executemany(
            "INSERT OR REPLACE INTO deleted VALUES (?, ?)", [(digest, revision) for digest in sorted(digests)]
        )
        into.deleted_ids.adopt_keys(source.deleted_ids)
