"""What predictors look at of examples, made once for all that look at the same.

Legend: B examples, H hash columns, M features.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import scipy.sparse as sp
import torch

from everlearn.learning.closed_form.coding import Featurize
from everlearn.learning.closed_form.statistics.count_sums import gram_matrix, no_grams
from everlearn.types import Code, Example

__all__ = ["Read", "Reading"]


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """Some examples.

    Attributes:
        features_BM: int8 features.
        counts_BH: Hashed counts of grams, see ``gram_matrix``.
    """

    features_BM: torch.Tensor
    counts_BH: sp.csr_matrix

    def part(self, start: int, stop: int) -> Read:
        """Some of them, one behind the other."""
        return Read(self.features_BM[start:stop], self.counts_BH[start:stop])


@dataclass(frozen=True, slots=True)
class Reading:
    """How examples are read.

    Attributes:
        codes: Gives the codes of examples.
        featurize: Gives int8 features of codes.
        gram_bits: log2 of the number of hash columns; None: nobody looks at grams.
        sizes: Two readings of the same sizes make the same of the same codes.
    """

    codes: Callable[[Sequence[Example]], list[Code]]
    featurize: Featurize
    gram_bits: int | None
    sizes: Hashable

    @property
    def key(self) -> Hashable:
        """The same for readings that make the same of the same codes."""
        return self.sizes, self.gram_bits

    def __call__(self, examples: Sequence[Example]) -> Read:
        """Read examples, at least one."""
        codes = self.codes(examples)
        features_BM = self.featurize(codes)
        counts_BH = no_grams(len(codes)) if self.gram_bits is None else gram_matrix(codes, self.gram_bits)
        return Read(features_BM, counts_BH)
