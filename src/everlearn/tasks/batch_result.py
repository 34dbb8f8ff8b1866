"""What happened to one batch, and who is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from everlearn.types import Example, Prediction, StepReport

__all__ = ["BatchResult", "Observer"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BatchResult:
    """What happened to one batch.

    Attributes:
        examples: The batch as prepared (N).
        predictions: Made before anything of the batch was learned (N).
        learned: The examples learned in this step; others than ``examples`` where targets are delayed.
        report: What the learner says of it; None where nothing was due.
        num_rejected: Records on the way that gave no example.
        num_unlearned: Pairs that corrections took out before others were learned for them.
        num_late_targets: Examples among ``learned`` that an earlier step had passed over without a target.
    """

    examples: Sequence[Example]
    predictions: Sequence[Prediction]
    learned: Sequence[Example]
    report: StepReport | None
    num_rejected: int = 0
    num_unlearned: int = 0
    num_late_targets: int = 0


class Observer(Protocol):
    """Looks at what happened and changes nothing of it."""

    def __call__(self, result: BatchResult, /) -> None:
        """Called after each step."""
        ...
