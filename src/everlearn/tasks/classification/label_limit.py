"""How many labels a run takes: a limit for what comes in, so that nothing journaled ever meets it."""

from __future__ import annotations

from collections.abc import Iterable

from everlearn.config import RunConfig
from everlearn.tasks.records import LearnerRecord

__all__ = ["MOST_LABELS", "LabelLimit", "label_limit"]

MOST_LABELS = 1_000_000
"""What the learner of a run is built for: the limit is checked before a step is journaled, and a journaled
step must always be made."""


class LabelLimit:
    """Lets labels in while there is room.

    Args:
        limit: Labels that the run takes.
        known: Those that it has learned, or is to learn.
    """

    def __init__(self, limit: int, known: Iterable[str]) -> None:
        self._limit = limit
        self._known = set(known)

    def problem_of(self, label: str | None) -> str | None:
        """Why a label has no room; None: it has, and is known from now on."""
        if label is None or label in self._known:
            return None
        if len(self._known) < self._limit:
            self._known.add(label)
            return None
        return (
            f"label {label!r} would be one more than the {self._limit:,} that the run takes (--max-classes); "
            "raise it and give the record again, or check that the target field holds labels, not free text"
        )


def label_limit(config: RunConfig, record: LearnerRecord) -> int | None:
    """Labels that a run takes; None where it learns no labels."""
    if config.task != "classify":
        return None
    is_closed_form = record.kind == "closed-form"
    section = config.learner.closed_form if is_closed_form else config.learner.gradient
    made_with = record.config if is_closed_form else record.config["learner"]
    return section.max_classes if section.max_classes is not None else int(made_with["max_classes"])
