"""Examples that cannot be learned: their rows stay, and no fold learns them."""

from __future__ import annotations

from collections.abc import Sequence

from everlearn.journal.journal import Journal
from everlearn.journal.records import UNLEARNABLE
from everlearn.journal.rows.earlier_rows import give_role

__all__ = ["leave_out"]


def leave_out(journal: Journal, offsets: Sequence[int], *, first_step: int, reason: str) -> None:
    """Give examples that were to be learned the role of what cannot be learned; a revision records it.

    Args:
        journal: The journal.
        offsets: The examples'.
        first_step: The first step whose state may hold something of them; states from there on are outdated.
        reason: Why, without what the examples say.
    """
    with journal.transaction():
        journal.history.revise(
            "unlearnable",
            first_step,
            journal.last_step,
            reason,
            # By these a step that is taken back gives them back too.
            {"examples": len(offsets), "offsets": list(offsets)},
        )
        for offset in offsets:
            give_role(journal.database, offset, UNLEARNABLE)
