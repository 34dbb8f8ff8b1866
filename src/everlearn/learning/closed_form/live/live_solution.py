"""A predictor that has everything that was learned: what is served while a stream is learned.

Legend: B examples, H hash columns, M features, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch

from everlearn.learning.closed_form.live.fresh_bayes import FreshBayes
from everlearn.learning.closed_form.live.fresh_ridge import FreshRidge, Seen
from everlearn.learning.closed_form.remade import Spare
from everlearn.learning.closed_form.solution import Settings
from everlearn.types import FloatArray

__all__ = ["LiveSolution"]

_ROWS_AT_ONCE = 512


class LiveSolution:
    """Both experts with everything learned so far, and the settings that were chosen last.

    Args:
        ridge: Ridge expert.
        bayes: Naive Bayes expert.
        settings: Chosen settings.
        labels: Labels in the order of the experts' classes.
    """

    def __init__(
        self, ridge: FreshRidge, bayes: FreshBayes, settings: Settings, labels: Sequence[str]
    ) -> None:
        self.settings = settings
        self._ridge = ridge
        self._bayes = bayes
        self._classes = tuple(labels)
        self._name_order()
        self._last: Spare[tuple[torch.Tensor, Seen]] | None = None

    @property
    def num_bytes(self) -> int:
        """About how much memory it takes."""
        return self._ridge.num_bytes + self._bayes.num_bytes

    def _name_order(self) -> None:
        self._order = np.array(sorted(range(len(self._classes)), key=self._classes.__getitem__))
        self.labels = tuple(self._classes[k] for k in self._order)

    def frozen(self) -> Self:
        """As it is now; it stays so while this one learns."""
        copy = type(self).__new__(type(self))
        copy.__dict__.update(self.__dict__)
        copy._ridge, copy._bayes = self._ridge.frozen(), self._bayes.frozen()
        return copy

    def assess(self, features_BM: torch.Tensor, counts_BH: sp.csr_matrix) -> tuple[FloatArray, FloatArray]:
        """Probabilities (B, C), classes by name, and outlier scores (B,)."""
        probabilities, outliers = [], []
        for start in range(0, len(features_BM), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            seen = self._see(features_BM[part] if len(features_BM) > _ROWS_AT_ONCE else features_BM)
            ridge = self._ridge.scores(seen).double().cpu().numpy()
            bayes = self._bayes.scores(counts_BH[part])
            probabilities.append(self.settings.mixture.probabilities(ridge, bayes)[:, self._order])
            outliers.append(self._ridge.leverages(seen).double().cpu().numpy())
        return np.concatenate(probabilities), np.concatenate(outliers)

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
        classes_B: npt.NDArray[np.int64],
        labels: Sequence[str],
        sign: Literal[1, -1] = 1,
    ) -> bool:
        """Learn examples, or take them out again.

        Args:
            features_BM: int8 features.
            counts_BH: Hashed counts of grams.
            classes_B: Their classes.
            labels: All labels in the order of the classes, new ones behind those that are known.
            sign: 1, or -1 to take out.

        Returns:
            False: they cannot be taken out in the precision of the solution, which is of no use then.
        """
        seen, self._last = self._see(features_BM), None
        if not self._ridge.add(seen, torch.from_numpy(classes_B), len(labels), sign):
            return False
        self._bayes.add(counts_BH, classes_B, len(labels), sign)
        if len(labels) > len(self._classes):
            self._classes = tuple(labels)
            self._name_order()
        return True
