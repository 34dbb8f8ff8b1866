"""How a run went: what had arrived at some places of its journal, and how it was predicted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from everlearn.journal.journal import Journal
from everlearn.journal.rows.pages import PRESENT_TARGET

__all__ = ["Place", "arrived_between", "first_offsets", "places", "share_right"]


class Place(NamedTuple):
    """The end of a step that brought examples.

    Attributes:
        offset: The last example that came with it.
        step: The step.
        time: When it was journaled.
    """

    offset: int
    step: int
    time: str


def places(journal: Journal, most: int) -> list[Place]:
    """Ends of steps, spread evenly over all examples that ever arrived, the newest among them."""
    last = journal.last_offset_of(journal.last_step)
    number = min(most, last)
    found: dict[int, Place] = {}
    for k in range(1, number + 1):
        row = journal.database.first(
            "SELECT s.last_offset, s.step, s.time FROM examples e JOIN steps s ON s.step = e.step "
            "WHERE e.offset >= ? AND s.last_offset IS NOT NULL ORDER BY e.offset LIMIT 1",
            (-(-last * k // number),),
        )
        if row is not None:
            found[row[1]] = Place._make(row)
    return [found[step] for step in sorted(found)]


def share_right(journal: Journal, first: int, last: int) -> float | None:
    """The share of the predictions between two offsets that say what the present targets do.

    None: nothing there has both.
    """
    (share,) = journal.database.one(
        f"SELECT AVG(p.label IS present) FROM (SELECT e.offset, {PRESENT_TARGET} AS present FROM examples e "
        "WHERE e.offset BETWEEN ? AND ?) x CROSS JOIN predictions p ON p.offset = x.offset "
        "WHERE x.present <> ''",
        (first, last),
    )
    return None if share is None else float(share)


def first_offsets(journal: Journal) -> Mapping[str, int]:
    """Where each target was first said of an example that the journal has."""
    found: dict[str, int] = dict(
        journal.database.all(
            "SELECT target, MIN(offset) FROM examples WHERE target IS NOT NULL AND target <> '' GROUP BY 1"
        )
    )
    for target, offset in journal.database.rows(
        # When it was said, not of what: the examples that had arrived by then.
        "SELECT c.target, MIN((SELECT p.last_offset FROM steps p WHERE p.step <= c.step "
        "AND p.last_offset IS NOT NULL ORDER BY p.step DESC LIMIT 1)) FROM changes c "
        "JOIN steps s ON s.step = c.step WHERE s.set_aside IS NULL OR c.kind = 'pending' GROUP BY 1"
    ):
        if offset is not None:
            found[target] = min(offset, found.get(target, offset))
    return found


def arrived_between(journal: Journal, ends: Sequence[int]) -> list[Mapping[str, int]]:
    """How many examples arrived with which present target, between the offsets of a list.

    Args:
        journal: The journal.
        ends: In order; the first interval begins with the first example.
    """
    found: list[Mapping[str, int]] = []
    before = 0
    for end in ends:
        counts: Counter[str] = Counter()
        for target, count in journal.database.rows(
            f"SELECT {PRESENT_TARGET} AS present, COUNT(*) FROM examples e "
            "WHERE e.offset BETWEEN ? AND ? AND present <> '' GROUP BY 1",
            (before + 1, end),
        ):
            counts[target] += count
        found.append(counts)
        before = end
    return found
