"""Sums of the ridge expert's features, from codes.

Legend: M features, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch

from everlearn.learning.closed_form.coding import Featurize
from everlearn.learning.closed_form.gram_sums import GramSums
from everlearn.types import Code

__all__ = ["FeatureSums"]

_ROWS_AT_ONCE = 256  # of the class sums, which are large where there are many labels
_PREFIX = "sums."


class FeatureSums:
    """The sums of features as a statistic of codes.

    Args:
        num_features: M.
        gather: Examples gathered before they are applied, see ``GramSums``.
        featurize: Gives int8 features (B, M) of codes.
        device: Where the sums live.
    """

    def __init__(self, num_features: int, gather: int, featurize: Featurize, device: torch.device) -> None:
        self._featurize = featurize
        self._sums = GramSums(num_features, gather, device)

    def sums(self) -> GramSums:
        """The sums, not to be changed."""
        return self._sums

    def add(self, codes: Sequence[Code], classes_B: npt.NDArray[np.int64], num_classes: int) -> None:
        """See ClassStatistic."""
        self._sums.add(self._featurize(codes), torch.from_numpy(classes_B), num_classes)

    def subtract(self, codes: Sequence[Code], classes_B: npt.NDArray[np.int64]) -> None:
        """See ClassStatistic."""
        self._sums.subtract(self._featurize(codes), torch.from_numpy(classes_B))

    def merge(self, other: FeatureSums, class_of_other: Sequence[int], num_classes: int) -> None:
        """See ClassStatistic."""
        self._sums.merge(other._sums, class_of_other, num_classes)

    def keep_classes(self, kept: Sequence[int]) -> None:
        """See ClassStatistic."""
        self._sums.keep_classes(kept)

    def digested(self, order: Sequence[int]) -> Iterator[memoryview]:
        """See ClassStatistic: panels of G, sums by class, numbers of examples."""
        order = list(order)
        for panel in self._sums.panels():
            yield panel.cpu().numpy().data
        class_sums_CM = self._sums.class_sums()
        for start in range(0, len(order), _ROWS_AT_ONCE):
            yield class_sums_CM[order[start : start + _ROWS_AT_ONCE]].cpu().numpy().data
        yield self._sums.class_counts_C[order].numpy().data

    def tensors(self) -> dict[str, torch.Tensor]:
        """See ClassStatistic."""
        return {f"{_PREFIX}{name}": tensor for name, tensor in self._sums.tensors().items()}

    def load(self, tensors: Mapping[str, torch.Tensor], num_classes: int) -> None:
        """See ClassStatistic."""
        own = {name.removeprefix(_PREFIX): one for name, one in tensors.items() if name.startswith(_PREFIX)}
        self._sums.load(own)
        if self._sums.num_classes != num_classes:
            raise ValueError(f"sums of {self._sums.num_classes} labels, not {num_classes}")
