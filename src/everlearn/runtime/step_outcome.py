"""What a program is told of a batch that its run has taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from everlearn.runtime.given import usable
from everlearn.runtime.loop.session import LearnSession
from everlearn.stream.source import Rejection
from everlearn.types import Example, Prediction

__all__ = ["StepOutcome", "take_batch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOutcome:
    """What became of a batch; all of it is on the disk.

    Attributes:
        step: Number of the newest step.
        offsets: Places in the journal of the examples that were new, by id.
        predictions: What was said of them before they were learned, by id.
        num_changed: Targets for examples that were taken before.
        rejected: What was taken before, deleted, or cannot be used, and why.
        version: The newest version, where one was made; None: none was.
        notes: What else the program should know, in sentences.
    """

    step: int
    offsets: Mapping[str, int] = field(default_factory=dict)
    predictions: Mapping[str, Prediction] = field(default_factory=dict)
    num_changed: int = 0
    rejected: Sequence[Rejection] = ()
    version: int | None = None
    notes: Sequence[str] = ()


def take_batch(session: LearnSession, batch: Sequence[Example]) -> StepOutcome:
    """Let a session take a batch, after what has waited long enough before it.

    Raises:
        InputError: Something cannot be used, and the run is strict; nothing of the batch is taken.
    """
    session.learn_waiting(session.config.stream.delay)
    if not batch:
        return StepOutcome(step=session.folder.journal.last_step)
    examples, rejected = usable(batch, session.place.name, session.progress.examples + 1)
    taken, arrived = session.take(examples, rejected)
    ids = [arrival.example.id for arrival in taken.arrivals]
    return StepOutcome(
        step=session.folder.journal.last_step,
        offsets={id_: taken.first_offset + k for k, id_ in enumerate(ids)},
        predictions=dict(zip(ids, taken.predictions, strict=True)),
        num_changed=len(arrived.changes),
        rejected=tuple(session.rejections.newest),
    )
