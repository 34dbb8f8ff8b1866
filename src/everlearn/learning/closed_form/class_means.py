"""A class-mean expert: how near an example is to the mean of each class, by the cosine.

Of few examples a class says nothing as reliably as its mean, and a mean does not depend on how many examples
the other classes have; ridge regression, which shrinks towards what is frequent, needs more of them. There
is one for the trunk's last layer and one for the others, which are of different worth from one stream to the
next.

Means are of sums that are exact integers, so that adding and taking out examples leaves no trace.

Legend: B examples, S members of the sample, M features, L of them looked at, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from everlearn.learning.closed_form.statistics.members import Members
from everlearn.types import FloatArray

__all__ = ["ClassMeans"]


class ClassMeans:
    """Nearest class means, learned example by example.

    Args:
        columns: Which features are looked at: int64 (L,).
        sums_CL: Sums of these features by class, integers; not to be changed by others.
    """

    def __init__(self, columns: torch.Tensor, sums_CL: torch.Tensor) -> None:
        self.columns = columns
        # Exact: below 2**53. Products with them are what asks for time.
        self._sums_CL = sums_CL.double()
        self._squares_C = self._sums_CL.square().sum(dim=1)

    @classmethod
    def of_examples(
        cls, columns: torch.Tensor, features_BM: torch.Tensor, members: Members, num_classes: int
    ) -> ClassMeans:
        """Means of some examples.

        Args:
            columns: Which features are looked at: int64 (L,).
            features_BM: int8 features.
            members: Their classes.
            num_classes: C.
        """
        means = cls(columns, torch.zeros(num_classes, len(columns), device=columns.device))
        means.add(features_BM, members, num_classes)
        return means

    @property
    def sums_CL(self) -> torch.Tensor:
        """Sums by class, int64."""
        return self._sums_CL.to(torch.int64)

    @property
    def num_bytes(self) -> int:
        """How much memory it takes."""
        return self._sums_CL.nbytes

    def ordered(self, order: Sequence[int]) -> ClassMeans:
        """The same with row k of the class ``order[k]``."""
        return ClassMeans(self.columns, self._sums_CL[list(order)])

    def frozen(self) -> ClassMeans:
        """As it is now; it stays so while this one learns."""
        return ClassMeans(self.columns, self._sums_CL.clone())

    def scores(self, features_BM: torch.Tensor) -> FloatArray:
        """Cosines (B, C) of int8 features; 0 where a class or an example has nothing."""
        rows_BL = self._rows(features_BM)
        norms_C = self._squares_C.sqrt()
        return self._divided(rows_BL @ self._sums_CL.T, rows_BL, norms_C.expand(len(rows_BL), -1))

    def scores_without_self(self, features_SM: torch.Tensor, classes_S: npt.NDArray[np.int64]) -> FloatArray:
        """The same of learned examples of the given classes, each left out of its class's mean."""
        rows_SL = self._rows(features_SM)
        products_SC = rows_SL @ self._sums_CL.T
        squares_SC = self._squares_C.repeat(len(rows_SL), 1)
        own = torch.arange(len(rows_SL)), torch.from_numpy(classes_S)
        own_squares_S = rows_SL.square().sum(dim=1)
        squares_SC[own] += own_squares_S - 2 * products_SC[own]
        products_SC[own] -= own_squares_S
        return self._divided(products_SC, rows_SL, squares_SC.clamp_(min=0).sqrt_())

    def add(
        self, features_BM: torch.Tensor, members: Members, num_classes: int, sign: Literal[1, -1] = 1
    ) -> None:
        """Learn examples, or take them out again.

        Args:
            features_BM: int8 features.
            members: Their classes.
            num_classes: C, new ones included.
            sign: 1, or -1 to take out.
        """
        missing = num_classes - len(self._sums_CL)
        if missing > 0:
            rows = self._sums_CL.new_zeros(missing, len(self.columns))
            self._sums_CL = torch.cat([self._sums_CL, rows])
            self._squares_C = torch.cat([self._squares_C, self._squares_C.new_zeros(missing)])
        classes_N, rows_N = members.tensors()
        rows_BL = self._rows(features_BM)
        added_NL = rows_BL if rows_N is None else rows_BL[rows_N]
        self._sums_CL.index_add_(0, classes_N.to(added_NL.device), added_NL, alpha=sign)
        touched = torch.from_numpy(np.unique(members.classes_N))
        self._squares_C[touched] = self._sums_CL[touched].square().sum(dim=1)

    def _rows(self, features_BM: torch.Tensor) -> torch.Tensor:
        return features_BM[:, self.columns].double()

    def _divided(
        self, products_BC: torch.Tensor, rows_BL: torch.Tensor, norms_BC: torch.Tensor
    ) -> FloatArray:
        norms = rows_BL.square().sum(dim=1).sqrt()[:, None] * norms_BC
        # Products of nothing are 0, and so are they then.
        cosines: FloatArray = products_BC.div_(norms.clamp_(min=1.0)).cpu().numpy()
        return cosines
