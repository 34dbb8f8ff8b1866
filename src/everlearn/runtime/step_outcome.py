"""What a program is told of a batch that its run has taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from everlearn.runtime.loop.arrivals import Sorted
from everlearn.runtime.loop.intake import Taken
from everlearn.runtime.loop.session import LearnSession
from everlearn.stream.source import Rejection
from everlearn.types import Prediction

__all__ = ["StepOutcome", "batch_outcome"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOutcome:
    """What became of a batch; all of it is on the disk.

    Attributes:
        step: Number of the newest step.
        offsets: Places in the journal of the examples that were new, by id.
        predictions: What was said of them before they were learned, by id.
        num_changed: Targets for examples that were taken before.
        refused: What was taken before, deleted, or cannot be used, and why.
        version: The newest version, where one was made; None: none was.
    """

    step: int
    offsets: Mapping[str, int] = field(default_factory=dict)
    predictions: Mapping[str, Prediction] = field(default_factory=dict)
    num_changed: int = 0
    refused: Sequence[Rejection] = ()
    version: int | None = None


def batch_outcome(session: LearnSession, taken: Taken, arrived: Sorted) -> StepOutcome:
    """The outcome of the batch that a session has just taken."""
    ids = [arrival.example.id for arrival in taken.arrivals]
    return StepOutcome(
        step=session.folder.journal.last_step,
        offsets={id_: taken.first_offset + k for k, id_ in enumerate(ids)},
        predictions=dict(zip(ids, taken.predictions, strict=True)),
        num_changed=len(arrived.changes),
        refused=arrived.refused,
    )
