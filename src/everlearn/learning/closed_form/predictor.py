"""A predictor of codes that stays as it is while the learner goes on: what a version serves."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from everlearn.learning.closed_form.few_solution import FewSolution
from everlearn.learning.closed_form.live.live_solution import LiveSolution
from everlearn.learning.closed_form.solution import Solution
from everlearn.learning.closed_form.statistics.count_sums import gram_matrix
from everlearn.types import Code, Example, Prediction

__all__ = ["ClosedFormPredictor"]


class ClosedFormPredictor:
    """Predicts by a solution.

    Args:
        solution: The experts; None while nothing is learned.
        gram_bits: Of the learner.
        codes: Gives the codes of examples.
        featurize: Gives int8 features (B, M) of codes.

    Attributes:
        solution: As given.
    """

    def __init__(
        self,
        solution: Solution | FewSolution | LiveSolution | None,
        gram_bits: int,
        codes: Callable[[Sequence[Example]], list[Code]],
        featurize: Callable[[Sequence[Code]], torch.Tensor],
    ) -> None:
        self.solution = solution
        self._gram_bits = gram_bits
        self._codes = codes
        self._featurize = featurize

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """One prediction an example; label None while nothing is learned."""
        solution = self.solution
        if not examples or solution is None:
            return [Prediction(None, (), np.zeros(0)) for _ in examples]
        codes = self._codes(examples)
        features = self._featurize(codes)
        probabilities_BC, outliers_B = solution.assess(features, gram_matrix(codes, self._gram_bits))
        best_B = probabilities_BC.argmax(axis=1)
        threshold = solution.settings.outlier_threshold
        return [
            Prediction(
                label=solution.labels[best_B[k]],
                labels=solution.labels,
                probabilities=probabilities_BC[k],
                outlier_score=float(outliers_B[k]),
                is_outlier=bool(outliers_B[k] > threshold),
            )
            for k in range(len(examples))
        ]
