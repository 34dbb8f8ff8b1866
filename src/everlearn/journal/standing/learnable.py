"""What would be learned again after a step, and whether its texts are there still."""

from __future__ import annotations

from everlearn.journal.journal import Journal
from everlearn.types import Example

__all__ = ["count_to_learn", "newest_learned", "steps_without_texts", "unlearned_since"]

# Deleted examples have no rows. What comes out of turn is learned again whatever it was held back for.
_TO_LEARN = (
    "SELECT e.offset FROM steps s "
    "CROSS JOIN examples e ON e.offset BETWEEN s.learned_first AND s.learned_last "
    "WHERE s.step > ?1 AND s.set_aside IS NULL AND +e.role = 'learn' "
    "UNION SELECT c.offset FROM steps s CROSS JOIN changes c ON c.step = s.step "
    "WHERE s.step > ?1 AND s.set_aside IS NULL AND c.kind <> 'pending'"
)


def count_to_learn(journal: Journal, after: int, without: set[int]) -> tuple[int, int]:
    """How many examples the steps after one learn, in turn or out of it, and how many of these lack a text.

    Args:
        journal: The journal.
        after: The step.
        without: Offsets of examples that are not to be learned again.
    """
    count = without_text = 0
    for offset, has_text in journal.database.rows(
        f"SELECT o.offset, EXISTS (SELECT 1 FROM texts t WHERE t.offset = o.offset) FROM ({_TO_LEARN}) o",
        (after,),
    ):
        if offset not in without:
            count, without_text = count + 1, without_text + (not has_text)
    return count, without_text


def unlearned_since(journal: Journal, offset: int) -> list[tuple[int, Example]]:
    """Examples from an offset on that are to be learned in turn, with their present targets."""
    return [
        (at, arrival.example.with_target(journal.standings.present_target(at, arrival.example.target)))
        for at, arrival in journal.examples.arrivals(offset, journal.next_offset - 1)
        if arrival.role == "learn"
    ]


def newest_learned(journal: Journal, before: int, count: int) -> list[int]:
    """Offsets of the newest examples that came before a step and were learned in turn, newest first."""
    rows = journal.database.rows(
        "SELECT e.offset FROM examples e JOIN steps s ON s.step = e.step WHERE e.role = 'learn' "
        "AND e.step < ? AND s.set_aside IS NULL AND e.offset <= ? AND e.target IS NOT NULL "
        "ORDER BY e.offset DESC LIMIT ?",
        (before, journal.standings.last_learned_in_turn, count),
    )
    return [offset for (offset,) in rows]


def steps_without_texts(journal: Journal, after: int) -> list[int]:
    """The steps after one that count, and learn something out of turn whose text was dropped."""
    rows = journal.database.rows(
        "SELECT DISTINCT s.step FROM steps s CROSS JOIN changes c ON c.step = s.step "
        "WHERE s.step > ? AND s.set_aside IS NULL AND c.kind <> 'pending' "
        "AND NOT EXISTS (SELECT 1 FROM texts t WHERE t.offset = c.offset) ORDER BY s.step",
        (after,),
    )
    return [step for (step,) in rows]
