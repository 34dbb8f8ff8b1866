"""A predictor of codes that stays as it is while the learner goes on: what a version serves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from everlearn.learning.closed_form.few_solution import FewSolution
from everlearn.learning.closed_form.live.live_solution import LiveSolution
from everlearn.learning.closed_form.reading import Read, Reading
from everlearn.learning.closed_form.solution import Solution
from everlearn.types import Example, Prediction

__all__ = ["ClosedFormPredictor"]


class ClosedFormPredictor:
    """Predicts by a solution.

    Args:
        solution: The experts; None while nothing is learned.
        reading: How examples are read.

    Attributes:
        solution: As given.
        reading: As given.
    """

    def __init__(self, solution: Solution | FewSolution | LiveSolution | None, reading: Reading) -> None:
        self.solution = solution
        self.reading = reading

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """One prediction an example; label None while nothing is learned."""
        if not examples or self.solution is None:
            return [Prediction(None, (), np.zeros(0)) for _ in examples]
        return self.predict_read(self.reading(examples))

    def predict_read(self, read: Read) -> list[Prediction]:
        """The same of examples, at least one, that were read as ``reading`` reads them."""
        solution, num_examples = self.solution, len(read.features_BM)
        if solution is None:
            return [Prediction(None, (), np.zeros(0))] * num_examples
        probabilities_BC, outliers_B = solution.assess(read.features_BM, read.counts_BH)
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
            for k in range(num_examples)
        ]
