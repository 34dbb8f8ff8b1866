"""How many examples each label has, and what was predicted in its place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from everlearn.journal.journal import Journal
from everlearn.journal.rows.pages import PRESENT_TARGET
from everlearn.journal.standing.held import HeldTargets

__all__ = ["TestedPair", "held_by_target", "tested_pairs"]


class TestedPair(NamedTuple):
    """Examples with one target of which the same was predicted.

    Attributes:
        target: Their present target.
        predicted: What was predicted before they were learned; None: no label was known.
        num_examples: How many they are.
    """

    target: str
    predicted: str | None
    num_examples: int


def held_by_target(journal: Journal) -> Mapping[str, int]:
    """How many examples the newest state holds with each target."""
    database = journal.database
    # CROSS JOIN and + keep SQLite, which knows no sizes, from beginning with another table or index.
    counts: Counter[str] = Counter(
        dict(
            database.all(
                "SELECT e.target, COUNT(*) FROM steps s "
                "CROSS JOIN examples e ON e.offset BETWEEN s.learned_first AND s.learned_last "
                "WHERE s.set_aside IS NULL AND +e.role = 'learn' AND e.target IS NOT NULL "
                "AND NOT EXISTS (SELECT 1 FROM changes c WHERE c.offset = e.offset) GROUP BY 1"
            )
        )
    )
    held = HeldTargets(journal)
    for offset, role, target in database.rows(
        "SELECT e.offset, e.role, e.target FROM examples e "
        "WHERE e.offset IN (SELECT offset FROM changes) ORDER BY e.offset"
    ):
        counts.update(held.all(offset, role, target))
    return counts


def tested_pairs(journal: Journal) -> list[TestedPair]:
    """How often what was predicted of which targets, of all examples that have a target."""
    return [
        TestedPair._make(row)
        for row in journal.database.rows(
            f"SELECT {PRESENT_TARGET} AS present, p.label, COUNT(*) FROM predictions p "
            "CROSS JOIN examples e ON e.offset = p.offset WHERE present <> '' GROUP BY 1, 2"
        )
    ]
