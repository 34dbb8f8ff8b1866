"""What came and was learned in the steps of an interval, those that are set aside left out."""

from __future__ import annotations

from typing import NamedTuple

from everlearn.journal.journal import Journal

__all__ = ["Contradictions", "contradictions", "first_offset_since", "has_new_after"]


class Contradictions(NamedTuple):
    """How often targets contradicted predictions.

    Attributes:
        num_examples: Examples that were learned, and whose target was known when they were predicted.
        num_contradicted: Those of them whose target contradicts a confident prediction.
    """

    num_examples: int
    num_contradicted: int


def has_new_after(journal: Journal, step: int) -> bool:
    """Whether something came or was learned after a step, readmissions left out."""
    row = journal.database.first(
        "SELECT 1 FROM steps s WHERE s.step > ? AND s.set_aside IS NULL AND (s.first_offset IS NOT NULL "
        "OR s.learned_first IS NOT NULL OR EXISTS (SELECT 1 FROM changes c WHERE c.step = s.step "
        "AND c.kind IN ('target', 'correction'))) LIMIT 1",
        (step,),
    )
    return row is not None


def first_offset_since(journal: Journal, first_step: int) -> int | None:
    """The first example that came with a step or a later one; None: none did."""
    row = journal.database.first(
        "SELECT first_offset FROM steps "
        "WHERE step >= ? AND set_aside IS NULL AND first_offset IS NOT NULL ORDER BY step LIMIT 1",
        (first_step,),
    )
    return None if row is None else int(row[0])


def contradictions(journal: Journal, confidence: float, first_step: int, last_step: int) -> Contradictions:
    """How often what an interval learned contradicts what was predicted of it.

    Args:
        journal: The journal.
        confidence: From this probability on a prediction is confident.
        first_step: The interval's first step.
        last_step: Its last.
    """
    # Of what these steps learned: with a delay, it came earlier. Ranges name what is held back as well.
    row = journal.database.one(
        "SELECT COUNT(*), COALESCE(SUM(p.label <> e.target AND p.confidence >= ?), 0) FROM steps s "
        "CROSS JOIN examples e ON e.offset BETWEEN s.learned_first AND s.learned_last "
        "CROSS JOIN predictions p ON p.offset = e.offset "
        "WHERE s.step BETWEEN ? AND ? AND s.set_aside IS NULL AND +e.role = 'learn' "
        "AND e.target IS NOT NULL AND p.target_probability IS NOT NULL",
        (confidence, first_step, last_step),
    )
    return Contradictions._make(row)
