"""What was learned in steps that the guard set aside, and how each of these examples stands now.

What counts is the step that learned an example. With a delay it came earlier, perhaps with an interval that
was accepted; and what came with a rejected interval may still wait for its turn.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from everlearn.journal.journal import Journal
from everlearn.journal.standing.held import HeldTargets
from everlearn.journal.standing.standing import Standing

__all__ = ["SetAside", "num_held_since", "num_taken_back", "set_aside_by", "set_aside_by_guard"]

# Examples that steps learned, in turn or out of it, which a revision has set aside. CROSS and + keep SQLite,
# which knows no sizes, from going through all examples for it.
_SET_ASIDE = (
    "SELECT e.offset, e.role, e.target FROM steps s "
    "CROSS JOIN examples e ON e.offset BETWEEN s.learned_first AND s.learned_last "
    "WHERE s.step BETWEEN ?1 AND ?2 AND s.set_aside IS ?3 AND +e.role = 'learn' "
    "UNION SELECT e.offset, e.role, e.target FROM steps s CROSS JOIN changes c ON c.step = s.step "
    "CROSS JOIN examples e ON e.offset = c.offset "
    "WHERE s.step BETWEEN ?1 AND ?2 AND s.set_aside IS ?3 AND c.kind <> 'pending'"
)


@dataclass(frozen=True, slots=True)
class SetAside:
    """An example that was learned in a step which was set aside.

    Attributes:
        offset: Its offset.
        target: The last target that was said of it, set aside or not; None: there was none.
        standing: How it stands now.
    """

    offset: int
    target: str | None
    standing: Standing


def set_aside_by_guard(journal: Journal) -> Iterator[SetAside]:
    """What rejections have set aside, newest first, each once; not what a rollback took back since."""
    seen: set[int] = set()
    taken_back: int | None = None
    for revision, kind, first_step in journal.database.all(
        "SELECT revision, kind, first_step FROM revisions WHERE kind IN ('quarantine', 'rollback') "
        "ORDER BY revision DESC"
    ):
        if kind == "rollback":
            taken_back = first_step if taken_back is None else min(taken_back, first_step)
            continue
        for example in set_aside_by(journal, revision, before_step=taken_back):
            if example.offset not in seen:
                seen.add(example.offset)
                yield example


def set_aside_by(journal: Journal, revision: int, *, before_step: int | None = None) -> Iterator[SetAside]:
    """What one revision has set aside, newest first.

    Args:
        journal: The journal.
        revision: Its number.
        before_step: Only what earlier steps learned; None: all of it.
    """
    first, last = journal.database.one(
        "SELECT first_step, last_step FROM revisions WHERE revision = ?", (revision,)
    )
    if before_step is not None:
        last = min(last, before_step - 1)
    rows = journal.database.all(f"{_SET_ASIDE} ORDER BY 1 DESC", (first, last, revision))
    for offset, role, arrived_with in rows:
        yield SetAside(
            offset,
            journal.standings.present_target(offset, arrived_with, and_of=revision),
            journal.standings.of(offset, role, arrived_with),
        )


def num_taken_back(journal: Journal, revision: int) -> int:
    """How many examples, or targets of them, the state held before a revision and holds no more since."""
    first, last = journal.database.one(
        "SELECT first_step, last_step FROM revisions WHERE revision = ?", (revision,)
    )
    before, now = HeldTargets(journal, last, revision - 1), HeldTargets(journal)
    return sum(
        len({*before.all(*row)} - {*now.all(*row)})
        for row in journal.database.rows(f"{_SET_ASIDE} ORDER BY 1", (first, last, revision))
    )


def num_held_since(journal: Journal, step: int) -> int:
    """How many examples, or targets of them, the state holds that it did not after a step."""
    then, now = HeldTargets(journal, step), HeldTargets(journal)
    rows = journal.database.rows(f"{_SET_ASIDE} ORDER BY 1", (step + 1, journal.last_step, None))
    return sum(len({*now.all(*row)} - {*then.all(*row)}) for row in rows)
