"""Dropping texts from a journal: everything that spells a text, wherever it lies, by one rule.

Beside its text an example may have fields that repeat it (a chat's messages), a target that is a text, and
what a model wrote of it. Rows that lose something get new checksums, so the chain of their steps cannot vouch
for them any more; that is noted where it is noted of dropped codes.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass

from everlearn.journal.chain import COMPACTED_STEP
from everlearn.journal.checksums import canonical_json, checksum
from everlearn.journal.journal import DROPPED_TO, Journal
from everlearn.journal.records import NO_TARGET
from everlearn.journal.rows.example_rows import verified
from everlearn.journal.rows.fields import fields_without

__all__ = ["TextRule", "drop_texts"]

_ROWS_AT_ONCE = 512


@dataclass(frozen=True, slots=True)
class TextRule:
    """What of an example is text, beside its text.

    Attributes:
        fields: Names of such fields. Fields that repeat the text are text whatever their name.
        targets: Whether targets, and what a model said of an example, are.
    """

    fields: frozenset[str] = frozenset()
    targets: bool = False


def drop_texts(journal: Journal, last_offset: int, rule: TextRule, keep: Collection[int] = ()) -> int:
    """Drop the texts of all examples up to an offset, the last one of a step.

    Args:
        journal: Open for writing.
        last_offset: The offset.
        rule: What else of an example is text.
        keep: Offsets of examples that are left as they are. What was left before and is not among them is
            dropped now.

    Returns:
        How many texts were dropped.
    """
    database, kept = journal.database, frozenset(keep)
    with database.transaction():
        first = int(journal.meta(DROPPED_TO) or 0) + 1
        left_before = database.all(
            "SELECT offset FROM texts WHERE offset < ? AND offset <= ? ORDER BY offset", (first, last_offset)
        )
        spans = [(offset, offset) for (offset,) in left_before if offset not in kept]
        spans += [(first, last_offset)] if first <= last_offset else []
        count = sum(_drop_span(journal, *span, rule, kept) for span in spans)
        if first <= last_offset:
            journal.set_meta(DROPPED_TO, str(last_offset))
    return count


def _drop_span(journal: Journal, first: int, last: int, rule: TextRule, keep: frozenset[int]) -> int:
    """Drop texts from one offset to another; returns how many."""
    database = journal.database
    span = (first, last, json.dumps(sorted(offset for offset in keep if first <= offset <= last)))
    within = "offset BETWEEN ? AND ? AND offset NOT IN (SELECT value FROM json_each(?))"
    count = int(database.one(f"SELECT COUNT(*) FROM texts WHERE {within}", span)[0])
    last_changed = _rewrite_examples(journal, first, last, rule, keep)
    database.execute(f"DELETE FROM texts WHERE {within}", span)
    if rule.targets:
        last_changed = max(last_changed, _rewrite_changes(journal, first, last, keep))
        database.execute(f"DELETE FROM predictions WHERE label IS NOT NULL AND {within}", span)
    if last_changed > int(journal.meta(COMPACTED_STEP) or 0):
        journal.set_meta(COMPACTED_STEP, str(last_changed))
    return count


def _rewrite_examples(journal: Journal, first: int, last: int, rule: TextRule, keep: frozenset[int]) -> int:
    """Write rows without what is text; returns the last step of which one was changed."""
    database, last_changed = journal.database, 0
    while first <= last:
        stop = min(first + _ROWS_AT_ONCE - 1, last)
        changed = []
        for *row, text in database.all(
            "SELECT e.offset, e.id, e.step, e.role, e.target, e.domain, e.time, e.fields, e.crc, t.text "
            "FROM examples e LEFT JOIN texts t ON t.offset = e.offset WHERE e.offset BETWEEN ? AND ?",
            (first, stop),
        ):
            if row[0] in keep:
                continue
            values = list(verified(row, "examples"))
            before = tuple(values)
            texts = [text, values[4] if rule.targets else None]
            if values[7] is not None:
                kept = fields_without(json.loads(str(values[7])), texts, rule.fields)
                values[7] = canonical_json(kept) if kept else None
            if rule.targets and values[4]:
                values[4] = NO_TARGET
            if tuple(values) != before:
                changed.append((values[4], values[7], checksum(*values), values[0]))
                last_changed = max(last_changed, int(str(values[2])))
        database.executemany("UPDATE examples SET target = ?, fields = ?, crc = ? WHERE offset = ?", changed)
        first = stop + 1
    return last_changed


def _rewrite_changes(journal: Journal, first: int, last: int, keep: frozenset[int]) -> int:
    database, last_changed = journal.database, 0
    for row in database.all(
        "SELECT number, step, offset, kind, previous, target, crc FROM changes WHERE offset BETWEEN ? AND ?",
        (first, last),
    ):
        if row[2] in keep:
            continue
        number, step, offset, kind, previous, _ = verified(row, "changes")
        kept = None if previous is None else NO_TARGET
        values = (number, step, offset, kind, kept, NO_TARGET)
        database.execute(
            "UPDATE changes SET previous = ?, target = ?, crc = ? WHERE number = ?",
            (kept, NO_TARGET, checksum(*values), number),
        )
        last_changed = max(last_changed, int(str(step)))
    return last_changed
