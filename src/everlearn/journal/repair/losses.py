"""What a run has lost to damage: steps that cannot be made again, although states hold them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from everlearn.journal.journal import Journal
from everlearn.journal.repair.soundness import LOST_STEPS
from everlearn.types import Json

__all__ = ["lost_steps", "record_incident"]

_INCIDENTS = "incidents"


def record_incident(journal: Journal, notes: Sequence[str], lost: Iterable[int] = ()) -> None:
    """Remember damage for good.

    Args:
        journal: The journal, open for writing.
        notes: What was found, skipped and lost, in sentences.
        lost: Steps that cannot be made again from now on.
    """
    steps = sorted({*lost_steps(journal), *lost})
    told = [*_value(journal, _INCIDENTS), {"time": journal.database.now(), "notes": list(notes)}]
    with journal.transaction():
        journal.set_meta(_INCIDENTS, json.dumps(told, ensure_ascii=False))
        journal.set_meta(LOST_STEPS, json.dumps(steps))


def lost_steps(journal: Journal) -> list[int]:
    """Steps that cannot be made again, because something that came with them was lost to damage."""
    return list(_value(journal, LOST_STEPS))


def _value(journal: Journal, key: str) -> list[Json]:
    text = journal.meta(key)
    return [] if text is None else json.loads(text)
