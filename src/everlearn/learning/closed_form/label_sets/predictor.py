"""A predictor of sets of labels that stays as it is while the learner goes on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from everlearn.label_set import written_set
from everlearn.learning.closed_form.label_sets.live import LiveSets
from everlearn.learning.closed_form.label_sets.solution import SetSolution
from everlearn.learning.closed_form.reading import Read, Reading
from everlearn.types import Example, Prediction

__all__ = ["SetPredictor"]


class SetPredictor:
    """Predicts by a solution. The label of a prediction is a set, see ``everlearn.label_set``.

    Args:
        solution: The solution; None while nothing is learned.
        reading: How examples are read.

    Attributes:
        solution: As given.
        reading: As given.
    """

    def __init__(self, solution: SetSolution | LiveSets | None, reading: Reading) -> None:
        self.solution = solution
        self.reading = reading

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """One prediction an example; label None while nothing is learned.

        Probabilities are of each label by itself, and do not sum to 1.
        """
        if not examples or self.solution is None:
            return [Prediction(None, (), np.zeros(0)) for _ in examples]
        return self.predict_read(self.reading(examples))

    def predict_read(self, read: Read) -> list[Prediction]:
        """The same of examples, at least one, that were read as ``reading`` reads them."""
        solution, num_examples = self.solution, len(read.features_BM)
        if solution is None:
            return [Prediction(None, (), np.zeros(0))] * num_examples
        probabilities_BC, outliers_B = solution.assess(read.features_BM, read.counts_BH)
        labels, settings = solution.labels, solution.settings
        said_BC = settings.calibration.said(probabilities_BC, labels)
        return [
            Prediction(
                label=written_set(labels[place] for place in np.flatnonzero(said_BC[k])),
                labels=labels,
                probabilities=probabilities_BC[k],
                outlier_score=float(outliers_B[k]),
                is_outlier=bool(outliers_B[k] > settings.outlier_threshold),
            )
            for k in range(num_examples)
        ]
