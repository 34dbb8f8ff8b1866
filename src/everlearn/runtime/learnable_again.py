"""Whether what a journal holds can be learned again: texts are dropped, and codes belong to a trunk."""

from __future__ import annotations

from everlearn.errors import RunError
from everlearn.journal.journal import Journal
from everlearn.runtime.learners import RunLearner
from everlearn.types import Example

__all__ = ["count_to_learn", "has_input", "require_input", "steps_without_texts"]

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


def steps_without_texts(journal: Journal, after: int) -> list[int]:
    """The steps after one that count, and learn something out of turn whose text was dropped."""
    rows = journal.database.rows(
        "SELECT DISTINCT s.step FROM steps s CROSS JOIN changes c ON c.step = s.step "
        "WHERE s.step > ? AND s.set_aside IS NULL AND c.kind <> 'pending' "
        "AND NOT EXISTS (SELECT 1 FROM texts t WHERE t.offset = c.offset) ORDER BY s.step",
        (after,),
    )
    return [step for (step,) in rows]


def has_input(example: Example, *, reads_text: bool) -> bool:
    """Whether an example comes with what a learner reads.

    Args:
        example: As read from the journal.
        reads_text: Whether the learner reads texts; else codes.
    """
    return (example.text if reads_text else example.code) is not None


def require_input(journal: Journal, learner: RunLearner, offset: int) -> None:
    """Make sure that an example can be learned, before that is journaled.

    Raises:
        RunError: Its text was dropped, or its code is of a trunk that does not count.
    """
    example = journal.example_at(offset)
    assert example is not None, "it was looked up"
    if has_input(example, reads_text=learner.reads_text):
        return
    why = (
        "whose text was dropped (--no-keep-text, run.text_days or compaction)"
        if learner.reads_text
        else "which came with codes of a trunk that a rollback has taken back"
    )
    raise RunError(
        f"example {example.id!r}, {why}, cannot be learned any more: nothing was changed. `everlearn learn` "
        "takes it as a new example, with an id of its own"
    )
