"""The chain of steps: a hash in each step that stands for it, its examples and everything before.

A row's checksum tells that the row is as it was written; the chain tells that no row is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from everlearn.journal.checksums import chained, checksum
from everlearn.journal.database import Database
from everlearn.journal.records import UNLEARNABLE

__all__ = ["COMPACTED_STEP", "LinkedStep", "link", "step_holds"]

COMPACTED_STEP = "compacted_step"
"""Key in ``meta``: up to this step codes may have been dropped on purpose."""

ChangeValues = tuple[int, str, str | None, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkedStep:
    """What of a step its link stands for.

    Attributes:
        source: Key of the stream that it took from.
        progress: How far the run is in that stream after it, as stored.
        learned: First and last offset of what was learned in turn.
        after: What is done once the step is made, as stored.
        num_rejected: Records that gave no example.
        example_crcs: Checksums of the examples that came, in order.
        code_crcs: Checksums of their codes, in order.
        changes: Offset, kind, previous and new target of what is learned out of turn.
    """

    source: str | None
    progress: str | None
    learned: tuple[int | None, int | None]
    after: str | None
    num_rejected: int
    example_crcs: Sequence[int]
    code_crcs: Sequence[int]
    changes: Sequence[ChangeValues]


def link(previous: bytes, step: LinkedStep) -> bytes:
    """The chain after a step, from the chain before it."""
    return chained(
        previous,
        step.source,
        step.progress,
        step.learned,
        step.after,
        step.num_rejected,
        step.example_crcs,
        step.code_crcs,
        step.changes,
    )


def step_holds(database: Database, step: int) -> bool | None:
    """Whether everything that came with a step is there as it was journaled.

    Returns:
        None where that cannot be told: a deletion took something of it out, the step before it is gone,
        or the codes were dropped.
    """
    row = database.first(
        "SELECT s.progress, s.first_offset, s.last_offset, s.learned_first, s.learned_last, s.num_rejected, "
        "s.after, s.chain, s.source IS NULL, k.key FROM steps s LEFT JOIN sources k ON k.source = s.source "
        "WHERE s.step = ?",
        (step,),
    )
    before = database.first("SELECT chain FROM steps WHERE step = ?", (step - 1,)) if step > 1 else (b"",)
    if row is None or before is None:
        return None
    progress, first, last, learned_first, learned_last, num_rejected, after, chain, no_source, key = row
    if not no_source and key is None:
        return False
    crcs: list[tuple[int, int | None]] = []
    if first is not None:
        crcs = [
            (_crc_on_arrival(*rest) if role == UNLEARNABLE else crc, code_crc)
            for crc, code_crc, role, *rest in database.rows(
                "SELECT e.crc, c.crc, e.role, e.offset, e.id, e.step, e.target, e.domain, e.time, e.fields "
                "FROM examples e LEFT JOIN codes c ON c.offset = e.offset "
                "WHERE e.offset BETWEEN ? AND ? ORDER BY e.offset",
                (first, last),
            )
        ]
    changes = database.all(
        "SELECT offset, kind, previous, target FROM changes WHERE step = ? ORDER BY number", (step,)
    )
    arrived = LinkedStep(
        source=key,
        progress=progress,
        learned=(learned_first, learned_last),
        after=after,
        num_rejected=num_rejected,
        example_crcs=[crc for crc, _ in crcs],
        code_crcs=[crc for _, crc in crcs if crc is not None],
        changes=changes,
    )
    if link(before[0], arrived) == chain:
        return True
    is_thinned = database.first(
        "SELECT 1 FROM revisions WHERE kind = 'deletion' AND first_step <= ?1 AND last_step >= ?1 "
        "UNION ALL SELECT 1 FROM meta WHERE key = ?2 AND CAST(value AS INTEGER) >= ?1 LIMIT 1",
        (step, COMPACTED_STEP),
    )
    return None if is_thinned else False


def _crc_on_arrival(offset: int, id_: str, step: int, *rest: object) -> int:
    """What the checksum of an example that cannot be learned was when it came, to be learned."""
    return checksum(offset, id_, step, "learn", *rest)
