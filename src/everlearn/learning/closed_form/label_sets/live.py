"""The live predictor of sets of labels.

Legend: B examples, H hash columns, M features, C classes: ``EVERY`` first, then the labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch

from everlearn.learning.closed_form.label_sets.calibration import shares
from everlearn.learning.closed_form.label_sets.settings import SetSettings
from everlearn.learning.closed_form.live.fresh_ridge import FreshRidge
from everlearn.learning.closed_form.live.live_ridge import LiveRidge
from everlearn.learning.closed_form.statistics.members import Members
from everlearn.types import FloatArray

__all__ = ["LiveSets"]


class LiveSets(LiveRidge[SetSettings]):
    """The ridge expert with everything learned so far, and the settings that were chosen last.

    Args:
        ridge: Ridge expert.
        counts_C: Examples of each class.
        settings: Chosen settings.
        classes: Names of the classes.
    """

    def __init__(
        self,
        ridge: FreshRidge,
        counts_C: npt.NDArray[np.int64],
        settings: SetSettings,
        classes: Sequence[str],
    ) -> None:
        super().__init__(ridge, settings, classes)
        self._counts_C = counts_C

    def _name_order(self) -> None:
        order = sorted(range(1, len(self._classes)), key=self._classes.__getitem__)
        self._order = np.array(order, dtype=np.int64)
        self.labels = tuple(self._classes[k] for k in self._order)

    def _probabilities(
        self, features_BM: torch.Tensor, scores_BC: FloatArray, counts_BH: sp.csr_matrix
    ) -> FloatArray:
        shares_C = shares(self._counts_C[self._order], int(self._counts_C[0]))
        return self.settings.calibration.probabilities(scores_BC[:, self._order], self.labels, shares_C)

    def _added(
        self,
        features_BM: torch.Tensor,
        counts_BH: sp.csr_matrix,
        members: Members,
        num_classes: int,
        sign: Literal[1, -1],
    ) -> None:
        counts_C = np.bincount(members.classes_N, minlength=num_classes) * sign
        counts_C[: len(self._counts_C)] += self._counts_C
        self._counts_C = counts_C
