"""How far candidates were judged, as decisions, versions and changes of history tell."""

from __future__ import annotations

from typing import NamedTuple

from everlearn.journal.journal import Journal

__all__ = ["HistoryMark", "history_mark", "last_judged", "was_judged", "was_judged_after"]


class HistoryMark(NamedTuple):
    """Where history stands: another mark, another history.

    Attributes:
        decision: The newest decision; None: there is none.
        revision: The newest change of history.
        version: The newest version.
    """

    decision: int | None
    revision: int | None
    version: int | None


def history_mark(journal: Journal) -> HistoryMark:
    """Where history stands; quick."""
    return HistoryMark._make(
        journal.database.one(
            "SELECT (SELECT MAX(decision) FROM decisions), (SELECT MAX(revision) FROM revisions), "
            "(SELECT MAX(version) FROM versions)"
        )
    )


def last_judged(journal: Journal) -> int:
    """The last step that was judged, or served before there was a guard; 0: there was none.

    What a rollback took back needs no judgement.
    """
    database = journal.database
    row = database.first(
        "SELECT step FROM decisions WHERE kind = 'guard' OR "
        "(kind = 'consolidation' AND verdict = 'accepted') ORDER BY decision DESC LIMIT 1"
    )
    judged = 0 if row is None else row[0]
    if database.first("SELECT 1 FROM decisions WHERE kind = 'guard' ORDER BY decision LIMIT 1") is None:
        judged = max(judged, database.one("SELECT COALESCE(MAX(step), 0) FROM versions")[0])
    for first_step, last_step in database.rows(
        "SELECT first_step, last_step FROM revisions WHERE kind = 'rollback' ORDER BY revision"
    ):
        if first_step <= judged + 1:
            judged = max(judged, last_step)
    return int(judged)


def was_judged(journal: Journal, step: int) -> bool:
    """Whether a guard judged the candidate of a step."""
    row = journal.database.first("SELECT 1 FROM decisions WHERE step = ? AND kind = 'guard'", (step,))
    return row is not None


def was_judged_after(journal: Journal, step: int) -> bool:
    """Whether a guard judged a candidate of a later step, or a version was made of one."""
    row = journal.database.first(
        "SELECT 1 FROM decisions WHERE kind = 'guard' AND step > ?1 "
        "UNION ALL SELECT 1 FROM versions WHERE step > ?1 LIMIT 1",
        (step,),
    )
    return row is not None
