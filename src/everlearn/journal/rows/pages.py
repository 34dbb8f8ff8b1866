"""Examples page by page, chosen by what is known of them; a page reads a bounded part of the journal."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from everlearn.journal.journal import Journal
from everlearn.journal.rows.selection import Condition
from everlearn.label_set import labels_in

__all__ = ["PRESENT_TARGET", "Page", "Wanted", "page_of"]

PRESENT_TARGET = (
    "COALESCE((SELECT c.target FROM changes c JOIN steps s ON s.step = c.step WHERE c.offset = e.offset "
    "AND (s.set_aside IS NULL OR c.kind = 'pending') ORDER BY c.number DESC LIMIT 1), e.target)"
)
"""The target that the example ``e`` has now; see ``Standings.present_target``."""

_OFFSETS_AT_ONCE = 1_000
_MOST_OFFSETS = 50_000
_MOST_CHARS = 20_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which examples are wanted: those of which everything that is given holds.

    Attributes:
        label: Their present label; of a set of labels, one of them.
        predicted: What was predicted before they were learned; likewise.
        role: What they are for.
        text: Is somewhere in their texts, in whatever case.
        conditions: On their fields.
        is_wrong: Whether only those are wanted whose prediction differs from their target.
        in_sets: Whether targets and predictions are sets of labels.
    """

    label: str | None = None
    predicted: str | None = None
    role: str | None = None
    text: str | None = None
    conditions: Sequence[Condition] = ()
    is_wrong: bool = False
    in_sets: bool = False

    def holds(self, row: dict[str, Any]) -> bool:
        """Whether an example that SQLite has let through is wanted."""
        if self.in_sets and self.label is not None and self.label not in labels_in(row["target"]):
            return False
        if self.in_sets and self.predicted is not None and self.predicted not in labels_in(row["label"]):
            return False
        if self.text is not None and self.text.casefold() not in row["text"].casefold():
            return False
        return all(condition.holds(row) for condition in self.conditions)

    def sql(self) -> tuple[str, list[object]]:
        """A condition on rows ``e``, ``p`` and ``present`` that nothing wanted fails, and its values."""
        ways: list[str] = []
        values: list[object] = []
        for name, label in (("present", self.label), ("p.label", self.predicted)):
            if label is not None and self.in_sets:
                ways.append(f"instr({name}, ?)")
                values.append(json.dumps(label, ensure_ascii=False))
            elif label is not None:
                ways.append(f"{name} = ?")
                values.append(label)
        if self.role is not None:
            ways.append("e.role = ?")
            values.append(self.role)
        if self.text is not None:
            ways.append("t.text IS NOT NULL")
        if self.is_wrong:
            ways.append("p.label IS NOT NULL AND present <> '' AND present <> p.label")
        for condition in self.conditions:
            own, of_condition = condition.sql()
            ways.append(own)
            values += of_condition
        return " AND ".join(f"({way})" for way in ways) or "1", values


@dataclass(frozen=True, slots=True)
class Page:
    """A part of what is wanted.

    Attributes:
        offsets: Of examples, in the order that was asked for.
        next: Behind this offset it goes on; None: there is nothing more. A page that has few examples, or
            none, is no sign of that.
    """

    offsets: Sequence[int]
    next: int | None


def page_of(
    journal: Journal,
    wanted: Wanted,
    *,
    after: int | None,
    newest_first: bool,
    limit: int,
    within: tuple[int | None, int | None] = (None, None),
) -> Page:
    """The next examples that are wanted.

    Args:
        journal: The journal.
        wanted: Which.
        after: Behind this offset (before it, where the newest come first); None: from the beginning.
        newest_first: The order.
        limit: Most examples of the page.
        within: Offsets of the first and the last one that may be wanted; None: there is no such bound.
    """
    first, last = max(1, within[0] or 1), journal.next_offset - 1
    last = last if within[1] is None else min(within[1], last)
    if newest_first:
        everything = range(last if after is None else min(after - 1, last), first - 1, -1)
    else:
        everything = range(first if after is None else max(after + 1, first), last + 1)
    found: list[int] = []
    num_chars, span = 0, everything[:_MOST_OFFSETS]
    for k in range(0, len(span), _OFFSETS_AT_ONCE):
        for row in _rows(journal, wanted, span[k : k + _OFFSETS_AT_ONCE]):
            num_chars += len(row["text"] or "")
            if wanted.holds(row):
                found.append(row["offset"])
            if len(found) == limit or num_chars > _MOST_CHARS:
                return Page(found, row["offset"] if row["offset"] != everything[-1] else None)
    return Page(found, span[-1] if len(span) < len(everything) else None)


def _rows(journal: Journal, wanted: Wanted, offsets: range) -> Iterator[dict[str, Any]]:
    """What is asked about those with offsets of a range, in its order, that SQLite lets through."""
    where, values = wanted.sql()
    texts = (
        ("t.text", "LEFT JOIN texts t ON t.offset = e.offset") if wanted.text is not None else ("NULL", "")
    )
    rows = journal.database.rows(
        f"SELECT e.offset, e.id, e.domain, e.time, e.fields, {PRESENT_TARGET} AS present, p.label, "
        f"{texts[0]} FROM examples e LEFT JOIN predictions p ON p.offset = e.offset {texts[1]} "
        f"WHERE e.offset BETWEEN ? AND ? AND {where} "
        f"ORDER BY e.offset {'DESC' if offsets.step < 0 else 'ASC'}",
        [min(offsets), max(offsets), *values],
    )
    for offset, id_, domain, time, fields, present, label, text in rows:
        yield {
            "offset": offset,
            "id": id_,
            "domain": domain,
            "time": time,
            "fields": json.loads(fields) if fields and wanted.conditions else {},
            "target": present,
            "label": label,
            "text": text,
        }
