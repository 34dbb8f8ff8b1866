"""A predictor of codes that stays as it is while the learner goes on: what a version serves."""

from __future__ import annotations

from everlearn.learning.closed_form.few_solution import FewSolution
from everlearn.learning.closed_form.live.live_solution import LiveSolution
from everlearn.learning.closed_form.reading import Read
from everlearn.learning.closed_form.reading_predictor import ReadingPredictor
from everlearn.learning.closed_form.solution import Solution
from everlearn.types import Prediction

__all__ = ["ClosedFormPredictor"]


class ClosedFormPredictor(ReadingPredictor[Solution | FewSolution | LiveSolution]):
    """Predicts by the experts."""

    def _said(self, solution: Solution | FewSolution | LiveSolution, read: Read) -> list[Prediction]:
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
            for k in range(len(best_B))
        ]
