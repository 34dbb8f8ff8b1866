"""A predictor of sets of labels that stays as it is while the learner goes on."""

from __future__ import annotations

import numpy as np

from everlearn.label_set import written_set
from everlearn.learning.closed_form.label_sets.live import LiveSets
from everlearn.learning.closed_form.label_sets.solution import SetSolution
from everlearn.learning.closed_form.reading import Read
from everlearn.learning.closed_form.reading_predictor import ReadingPredictor
from everlearn.types import Prediction

__all__ = ["SetPredictor"]


class SetPredictor(ReadingPredictor[SetSolution | LiveSets]):
    """The label of a prediction is a set, see ``everlearn.label_set``.

    Probabilities are of each label by itself, and do not sum to 1.
    """

    def _said(self, solution: SetSolution | LiveSets, read: Read) -> list[Prediction]:
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
            for k in range(len(said_BC))
        ]
