"""A predictor of sets of labels that stays as it is while the learner goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from everlearn.label_set import written_set
from everlearn.learning.closed_form.label_sets.live import LiveSets
from everlearn.learning.closed_form.label_sets.solution import SetSolution
from everlearn.learning.closed_form.statistics.count_sums import no_grams
from everlearn.types import Code, Example, Prediction

__all__ = ["SetPredictor"]


class SetPredictor:
    """Predicts by a solution. The label of a prediction is a set, see ``everlearn.label_set``.

    Args:
        solution: The solution; None while nothing is learned.
        codes: Gives the codes of examples.
        featurize: Gives int8 features (B, M) of codes.

    Attributes:
        solution: As given.
    """

    def __init__(
        self,
        solution: SetSolution | LiveSets | None,
        codes: Callable[[Sequence[Example]], list[Code]],
        featurize: Callable[[Sequence[Code]], torch.Tensor],
    ) -> None:
        self.solution = solution
        self._codes = codes
        self._featurize = featurize

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """One prediction an example; label None while nothing is learned.

        Probabilities are of each label by itself, and do not sum to 1.
        """
        solution = self.solution
        if not examples or solution is None:
            return [Prediction(None, (), np.zeros(0)) for _ in examples]
        features_BM = self._featurize(self._codes(examples))
        probabilities_BC, outliers_B = solution.assess(features_BM, no_grams(len(examples)))
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
            for k in range(len(examples))
        ]
