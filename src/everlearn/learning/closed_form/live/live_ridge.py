"""What live predictors have in common: a ridge expert with everything that was learned, classes, settings.

Legend: B examples, H hash columns, M features, C classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, Literal, Self, TypeVar

import numpy as np
import scipy.sparse as sp
import torch

from everlearn.learning.closed_form.live.fresh_ridge import FreshRidge, Seen
from everlearn.learning.closed_form.remade import Spare
from everlearn.learning.closed_form.statistics.members import Members
from everlearn.types import FloatArray

__all__ = ["LiveRidge"]

S_co = TypeVar("S_co", covariant=True)

_ROWS_AT_ONCE = 512


class LiveRidge(ABC, Generic[S_co]):
    """A predictor that has everything that was learned.

    Args:
        ridge: Ridge expert.
        settings: Chosen settings.
        classes: Names of the expert's classes, in their order.

    Attributes:
        settings: As given.
        labels: What can be predicted, by name.
    """

    labels: tuple[str, ...]

    def __init__(self, ridge: FreshRidge, settings: S_co, classes: Sequence[str]) -> None:
        self.settings = settings
        self._ridge = ridge
        self._classes = tuple(classes)
        self._name_order()
        self._last: Spare[tuple[torch.Tensor, Seen]] | None = None

    @property
    def num_bytes(self) -> int:
        """About how much memory it takes."""
        return self._ridge.num_bytes

    def _name_order(self) -> None:
        self._order = np.array(sorted(range(len(self._classes)), key=self._classes.__getitem__))
        self.labels = tuple(self._classes[k] for k in self._order)

    def frozen(self) -> Self:
        """As it is now; it stays so while this one learns."""
        copy = type(self).__new__(type(self))
        copy.__dict__.update(self.__dict__)
        copy._ridge = self._ridge.frozen()
        return copy

    def assess(self, features_BM: torch.Tensor, counts_BH: sp.csr_matrix) -> tuple[FloatArray, FloatArray]:
        """Probabilities (B, C), classes by name, and outlier scores (B,)."""
        probabilities, outliers = [], []
        for start in range(0, len(features_BM), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            features = features_BM[part] if len(features_BM) > _ROWS_AT_ONCE else features_BM
            seen = self._see(features)
            scores = self._ridge.scores(seen).double().cpu().numpy()
            probabilities.append(self._probabilities(features, scores, counts_BH[part]))
            outliers.append(self._ridge.leverages(seen).double().cpu().numpy())
        return np.concatenate(probabilities), np.concatenate(outliers)

    @abstractmethod
    def _probabilities(
        self, features_BM: torch.Tensor, scores_BC: FloatArray, counts_BH: sp.csr_matrix
    ) -> FloatArray:
        """Probabilities of the labels (B, C), by name, from scores of the classes in their order."""

    def _see(self, features_BM: torch.Tensor) -> Seen:
        """A batch is predicted, then learned: what was seen of the last one is kept."""
        last = None if self._last is None else self._last.get()
        if last is not None and last[0] is features_BM:
            return last[1]
        seen = self._ridge.see(features_BM)
        self._last = Spare((features_BM, seen), features_BM.nbytes + seen.half_RB.nbytes)
        return seen

    def add(
        self,
        features_BM: torch.Tensor,
        counts_BH: sp.csr_matrix,
        members: Members,
        classes: Sequence[str],
        sign: Literal[1, -1] = 1,
    ) -> bool:
        """Learn examples, or take them out again.

        Args:
            features_BM: int8 features.
            counts_BH: Hashed counts of grams.
            members: Their classes.
            classes: All names in the order of the classes, new ones behind those that are known.
            sign: 1, or -1 to take out.

        Returns:
            False: they cannot be taken out in the precision of the solution, which is of no use then.
        """
        seen, self._last = self._see(features_BM), None
        classes_N, rows_N = members.tensors()
        if not self._ridge.add(seen, classes_N, len(classes), sign, rows_N):
            return False
        self._added(features_BM, counts_BH, members, len(classes), sign)
        if len(classes) > len(self._classes):
            self._classes = tuple(classes)
            self._name_order()
        return True

    @abstractmethod
    def _added(
        self,
        features_BM: torch.Tensor,
        counts_BH: sp.csr_matrix,
        members: Members,
        num_classes: int,
        sign: Literal[1, -1],
    ) -> None:
        """The ridge expert has learned examples, or has them no longer."""
