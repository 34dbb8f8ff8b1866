"""Which classes some examples are of."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

__all__ = ["Members"]


class Members(NamedTuple):
    """Pairs of an example and a class that it is of.

    Attributes:
        classes_N: The classes.
        rows_N: Which example each is of, ascending; None: each example is of one class.
    """

    classes_N: npt.NDArray[np.int64]
    rows_N: npt.NDArray[np.int64] | None = None

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """Which example each class is of (N,)."""
        return np.arange(len(self.classes_N)) if self.rows_N is None else self.rows_N

    def part(self, start: int, stop: int) -> Members:
        """Of some examples only, counted from the first of them."""
        if self.rows_N is None:
            return Members(self.classes_N[start:stop].copy())
        first, last = np.searchsorted(self.rows_N, (start, stop))
        return Members(self.classes_N[first:last].copy(), self.rows_N[first:last] - start)

    def renumbered(self, numbers_C: npt.NDArray[np.int64]) -> Members:
        """With another number for each class."""
        return Members(numbers_C[self.classes_N], self.rows_N)

    def tensors(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The same as tensors."""
        rows_N = None if self.rows_N is None else torch.from_numpy(self.rows_N)
        return torch.from_numpy(self.classes_N), rows_N

    def targets(self, num_examples: int, num_classes: int) -> npt.NDArray[np.float64]:
        """1 where an example is of a class, else 0 (B, C)."""
        targets_BC = np.zeros((num_examples, num_classes))
        targets_BC[self.rows, self.classes_N] = 1
        return targets_BC
