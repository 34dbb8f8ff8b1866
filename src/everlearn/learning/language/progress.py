"""Adding up what the steps of one call did."""

from __future__ import annotations

import numpy as np

from everlearn.learning.gradient.step import StepResult
from everlearn.learning.language.losses import LossTally
from everlearn.types import StepReport, VocabularyGrowth

__all__ = ["StepProgress"]


class StepProgress:
    """What one call of ``learn`` or ``settle`` has done so far."""

    def __init__(self) -> None:
        self.tally = LossTally()
        self.results: list[StepResult] = []
        self.grown: VocabularyGrowth | None = None

    def report(self, num_learned: int) -> StepReport:
        """All of it."""
        results = self.results
        norms = [result.gradient_norm for result in results if result.gradient_norm is not None]
        skipped = [result.skipped for result in results if result.skipped is not None]
        return StepReport(
            num_learned=num_learned,
            loss=float(np.mean([result.loss for result in results])) if results else None,
            num_replayed=sum(len(result.batch) - result.batch.num_fresh for result in results),
            text_losses=self.tally.losses(),
            num_tokens=self.tally.num_tokens,
            gradient_norm=max(norms, default=None),
            skipped="; ".join(skipped) or None,
            grown=self.grown,
        )
