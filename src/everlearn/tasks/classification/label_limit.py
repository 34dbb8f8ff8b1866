"""How many labels a run of a classifier takes."""

from __future__ import annotations

from everlearn.settings import RunConfig
from everlearn.tasks.records import LearnerRecord

__all__ = ["MOST_LABELS", "label_limit"]

MOST_LABELS = 1_000_000
"""What the learner of a run is built for: the limit is checked before a step is journaled, and a journaled
step must always be made."""


def label_limit(config: RunConfig, record: LearnerRecord) -> int:
    """Labels that a run takes."""
    learner = config.learner
    return (learner.closed_form if record.kind == "closed-form" else learner.gradient).max_classes
