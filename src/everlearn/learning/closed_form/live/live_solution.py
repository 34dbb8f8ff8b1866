"""A predictor that has everything that was learned: what is served while a stream is learned.

Legend: B examples, H hash columns, M features, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

import numpy as np
import scipy.sparse as sp
import torch

from everlearn.learning.closed_form.class_means import ClassMeans
from everlearn.learning.closed_form.live.fresh_bayes import FreshBayes
from everlearn.learning.closed_form.live.fresh_ridge import FreshRidge
from everlearn.learning.closed_form.live.live_ridge import LiveRidge
from everlearn.learning.closed_form.solution import Settings
from everlearn.learning.closed_form.statistics.members import Members
from everlearn.types import FloatArray

__all__ = ["LiveSolution"]


class LiveSolution(LiveRidge[Settings]):
    """All experts with everything learned so far, and the settings that were chosen last.

    Args:
        ridge: Ridge expert.
        bayes: Naive Bayes expert.
        means: Class-mean experts; they learn from now on.
        settings: Chosen settings.
        labels: Labels in the order of the experts' classes.
    """

    def __init__(
        self,
        ridge: FreshRidge,
        bayes: FreshBayes,
        means: Sequence[ClassMeans],
        settings: Settings,
        labels: Sequence[str],
    ) -> None:
        super().__init__(ridge, settings, labels)
        self._bayes = bayes
        self._means = means

    @property
    def num_bytes(self) -> int:
        """About how much memory it takes."""
        means = sum(one.num_bytes for one in self._means)
        return self._ridge.num_bytes + self._bayes.num_bytes + means

    def frozen(self) -> Self:
        """As it is now; it stays so while this one learns."""
        copy = super().frozen()
        copy._bayes = self._bayes.frozen()
        copy._means = [one.frozen() for one in self._means]
        return copy

    def _probabilities(
        self, features_BM: torch.Tensor, scores_BC: FloatArray, counts_BH: sp.csr_matrix
    ) -> FloatArray:
        bayes_BC = self._bayes.scores(counts_BH)
        means_BC = [one.scores(features_BM) for one in self._means]
        return np.asarray(self.settings.mixture.probabilities(scores_BC, bayes_BC, *means_BC)[:, self._order])

    def _added(
        self,
        features_BM: torch.Tensor,
        counts_BH: sp.csr_matrix,
        members: Members,
        num_classes: int,
        sign: Literal[1, -1],
    ) -> None:
        self._bayes.add(counts_BH, members.classes_N, num_classes, sign)
        for one in self._means:
            one.add(features_BM, members, num_classes, sign)
