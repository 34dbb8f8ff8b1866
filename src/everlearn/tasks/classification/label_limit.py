"""How many labels a run of a classifier takes."""

from __future__ import annotations

from everlearn.config import RunConfig
from everlearn.tasks.records import LearnerRecord

__all__ = ["MOST_LABELS", "label_limit"]

MOST_LABELS = 1_000_000
"""What the learner of a run is built for: the limit is checked before a step is journaled, and a journaled
step must always be made."""


def label_limit(config: RunConfig, record: LearnerRecord) -> int:
    """Labels that a run takes."""
    is_closed_form = record.kind == "closed-form"
    section = config.learner.closed_form if is_closed_form else config.learner.gradient
    made_with = record.config if is_closed_form else record.config["learner"]
    return section.max_classes if section.max_classes is not None else int(made_with["max_classes"])
