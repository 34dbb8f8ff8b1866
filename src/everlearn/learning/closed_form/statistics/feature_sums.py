"""Sums of the ridge expert's features, from codes; not kept while the codes themselves are.

A code takes about 3 KB, the sums of 5,120 features 105 MB: of few examples, all of which a sample holds, the
codes are the smaller statistic, and the sums are made of them whenever they are asked for.

Legend: M features, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch

from everlearn.learning.closed_form.coding import Featurize
from everlearn.learning.closed_form.gram_sums import GramSums, panel_rows
from everlearn.learning.closed_form.integer_products import int8_product
from everlearn.learning.closed_form.statistics.members import Members
from everlearn.types import Code

__all__ = ["Everything", "FeatureSums"]

Everything = Callable[[], tuple[Sequence[Code], Members, int]]
"""Gives the codes of all examples, their classes, and the number of classes."""

_ROWS_AT_ONCE = 256  # of the class sums, which are large where there are many labels
_PREFIX = "sums."


class FeatureSums:
    """The sums of features as a statistic of codes.

    Args:
        make: Makes sums of nothing.
        featurize: Gives int8 features (B, M) of codes.
        everything: Asked while sums are not kept.
    """

    def __init__(self, make: Callable[[], GramSums], featurize: Featurize, everything: Everything) -> None:
        self._make = make
        self._featurize = featurize
        self._everything = everything
        self._kept: GramSums | None = None

    @property
    def is_kept(self) -> bool:
        """Whether there are sums; if not, the codes of all examples are at hand."""
        return self._kept is not None

    def keep(self) -> None:
        """Keep sums from now on: not all codes will be at hand."""
        self._kept = self.sums()

    def sums(self) -> GramSums:
        """The sums, not to be changed; made now where they are not kept."""
        if self._kept is not None:
            return self._kept
        sums = self._make()
        codes, members, num_classes = self._everything()
        if codes:
            classes_N, rows_N = members.tensors()
            sums.add(self._featurize(codes), classes_N, num_classes, rows_N)
        return sums

    def add(self, codes: Sequence[Code], members: Members, num_classes: int) -> None:
        """See ClassStatistic."""
        if self._kept is not None:
            classes_N, rows_N = members.tensors()
            self._kept.add(self._featurize(codes), classes_N, num_classes, rows_N)

    def subtract(self, codes: Sequence[Code], members: Members) -> None:
        """See ClassStatistic."""
        if self._kept is not None:
            self._kept.subtract(self._featurize(codes), *members.tensors())

    def flush(self) -> None:
        """Apply what was gathered, and let go of it."""
        if self._kept is not None:
            self._kept.flush()

    def merge(self, other: FeatureSums, class_of_other: Sequence[int], num_classes: int) -> None:
        """See ClassStatistic."""
        if self._kept is not None:
            self._kept.merge(other.sums(), class_of_other, num_classes)

    def keep_classes(self, kept: Sequence[int]) -> None:
        """See ClassStatistic."""
        if self._kept is not None:
            self._kept.keep_classes(kept)

    def digested(self, order: Sequence[int]) -> Iterator[memoryview]:
        """See ClassStatistic: panels of G, sums by class, numbers of examples; the same, kept or not."""
        order = list(order)
        if self._kept is None and order:
            yield from self._digested_codes(order)
            return
        sums = self.sums()
        for panel in sums.panels():
            yield panel.cpu().numpy().data
        class_sums_CM = sums.class_sums()
        for start in range(0, len(order), _ROWS_AT_ONCE):
            yield class_sums_CM[order[start : start + _ROWS_AT_ONCE]].cpu().numpy().data
        yield sums.class_counts_C[order].numpy().data

    def _digested_codes(self, order: Sequence[int]) -> Iterator[memoryview]:
        """The same without making room for the sums."""
        codes, members, num_classes = self._everything()
        features_BM = self._featurize(codes)
        for rows in panel_rows(features_BM):
            yield rows.cpu().numpy().data
        for start in range(0, len(order), _ROWS_AT_ONCE):
            wanted = np.array(order[start : start + _ROWS_AT_ONCE])
            is_of_CB = np.zeros((len(wanted), len(codes)), dtype=np.int8)
            place_in_wanted, pair = np.nonzero(wanted[:, None] == members.classes_N)
            is_of_CB[place_in_wanted, members.rows[pair]] = 1
            members_CB = torch.from_numpy(is_of_CB).to(features_BM.device)
            yield int8_product(members_CB, features_BM).to(torch.int64).cpu().numpy().data
        yield np.bincount(members.classes_N, minlength=num_classes)[order].astype(np.int64).data

    def tensors(self) -> dict[str, torch.Tensor]:
        """See ClassStatistic; none where sums are not kept."""
        if self._kept is None:
            return {}
        return {f"{_PREFIX}{name}": tensor for name, tensor in self._kept.tensors().items()}

    def load(self, tensors: Mapping[str, torch.Tensor], num_classes: int) -> None:
        """See ClassStatistic."""
        own = {name.removeprefix(_PREFIX): one for name, one in tensors.items() if name.startswith(_PREFIX)}
        self._kept = None
        if own:
            self._kept = self._make()
            self._kept.load(own)
            if self._kept.num_classes != num_classes:
                raise ValueError(f"sums of {self._kept.num_classes} labels, not {num_classes}")
