"""Exact sums of hashed word grams by class.

Counts are unit-length log(1+count) vectors, as integers; their sums by class are sparse, so memory follows
the words seen, up to C·H.

Legend: B examples, C classes, H hash columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch

from everlearn.learning.closed_form.statistics.members import Members
from everlearn.types import Code

__all__ = ["CountSums", "gram_matrix", "no_grams", "present_columns"]

_HASH_MULTIPLIER = np.uint32(0xC2B2AE35)
_INT32_SAFE = 2**30  # two numbers below it do not overflow when they are added
_PARTS = ("indptr", "indices", "data")


def gram_matrix(codes: Sequence[Code], gram_bits: int) -> sp.csr_matrix:
    """Hashed counts of codes: int64 CSR (B, 2**gram_bits), canonical (sorted, no duplicates)."""
    lengths = [len(code.gram_ids) for code in codes]
    indptr = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)
    if indptr[-1] == 0:
        return sp.csr_matrix((len(codes), 1 << gram_bits), dtype=np.int64)
    ids = np.concatenate([code.gram_ids for code in codes])
    values = np.concatenate([code.gram_values for code in codes]).astype(np.int64)
    columns = ((ids * _HASH_MULTIPLIER) >> np.uint32(32 - gram_bits)).astype(np.int64)
    matrix = sp.csr_matrix((values, columns, indptr), shape=(len(codes), 1 << gram_bits))
    matrix.sum_duplicates()
    return matrix


def present_columns(counts_BH: sp.csr_matrix) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The columns (U,) that texts have, ascending, and which of them each entry is of.

    Args:
        counts_BH: As of ``gram_matrix``.
    """
    columns_E = counts_BH.indices
    if counts_BH.shape[0] == 1:  # as they are: ascending, none twice
        return columns_E.astype(np.int64), np.arange(len(columns_E))
    columns_U, places_E = np.unique(columns_E, return_inverse=True)
    return columns_U.astype(np.int64), places_E


def no_grams(num: int) -> sp.csr_matrix:
    """The hashed counts of so many texts where nobody looks at them: (B, 0)."""
    return sp.csr_matrix((num, 0), dtype=np.int64)


class CountSums:
    """Exact sums of hashed counts by class.

    Args:
        gram_bits: log2 of the number of hash columns.
        gather: Examples gathered before they are added; a pass over the sums costs the same for
            one example as for many.
    """

    def __init__(self, gram_bits: int, gather: int) -> None:
        self.gram_bits = gram_bits
        self._gather = gather
        self._sums_CH = sp.csr_matrix((0, 1 << gram_bits), dtype=np.int32)
        self._waiting: list[tuple[list[Code], npt.NDArray[np.int64]]] = []
        self._num_waiting = 0
        self._num_classes = 0

    def add(self, codes: Sequence[Code], members: Members, num_classes: int) -> None:
        """See ClassStatistic."""
        self._num_classes = max(self._num_classes, num_classes)
        self._waiting.append(_one_class_each(codes, members))
        self._num_waiting += len(codes)
        if self._num_waiting >= self._gather:
            self.flush()

    def subtract(self, codes: Sequence[Code], members: Members) -> None:
        """See ClassStatistic."""
        self.flush()
        self._apply(*_one_class_each(codes, members), sign=-1)
        self._sums_CH.eliminate_zeros()

    def flush(self) -> None:
        """Apply what was gathered."""
        if self._waiting:
            codes = [code for batch, _ in self._waiting for code in batch]
            classes = np.concatenate([classes for _, classes in self._waiting])
            self._waiting.clear()
            self._num_waiting = 0
            self._apply(codes, classes, sign=1)
        self._sums_CH.resize((self._num_classes, 1 << self.gram_bits))

    def sums(self) -> sp.csr_matrix:
        """CSR (C, H) of int32 or int64, canonical."""
        self.flush()
        return self._sums_CH

    def merge(self, other: CountSums, class_of_other: Sequence[int], num_classes: int) -> None:
        """Add all sums of ``other``; its class k is class ``class_of_other[k]`` here."""
        self._num_classes = max(self._num_classes, num_classes)
        self.flush()
        theirs = other.sums().tocoo()
        rows = np.asarray(class_of_other, dtype=np.int64)[theirs.row]
        moved = sp.csr_matrix((theirs.data, (rows, theirs.col)), shape=self._sums_CH.shape)
        self._sums_CH = _added(self._sums_CH, moved)

    def keep_classes(self, kept: Sequence[int]) -> None:
        """Keep the rows of these classes, in this order."""
        self.flush()
        self._sums_CH = self._sums_CH[list(kept)]
        self._num_classes = len(kept)

    def digested(self, order: Sequence[int]) -> Iterator[memoryview]:
        """See ClassStatistic."""
        sums_CH = self.sums()[list(order)]
        for name in _PARTS:
            yield np.ascontiguousarray(getattr(sums_CH, name), dtype="<i8").data

    def tensors(self) -> dict[str, torch.Tensor]:
        """The sums as three int64 tensors."""
        sums_CH = self.sums()
        return {
            f"counts.{name}": torch.from_numpy(getattr(sums_CH, name).astype(np.int64)) for name in _PARTS
        }

    def load(self, tensors: Mapping[str, torch.Tensor], num_classes: int) -> None:
        """The inverse of ``tensors``."""
        indptr, indices, data = (tensors[f"counts.{name}"].numpy().copy() for name in _PARTS)
        shape = (num_classes, 1 << self.gram_bits)
        sums_CH = sp.csr_matrix((data, indices, indptr), shape=shape, dtype=np.int64)
        sums_CH.check_format()
        self._waiting.clear()
        self._num_waiting = 0
        self._sums_CH = sums_CH
        self._num_classes = num_classes

    def _apply(self, codes: Sequence[Code], classes_B: npt.NDArray[np.int64], *, sign: int) -> None:
        counts_BH = gram_matrix(codes, self.gram_bits)
        rows = np.repeat(classes_B, np.diff(counts_BH.indptr))
        by_class = sp.coo_matrix(
            ((counts_BH.data * sign).astype(np.int32), (rows, counts_BH.indices)),
            shape=(self._num_classes, 1 << self.gram_bits),
        ).tocsr()
        self._sums_CH.resize(by_class.shape)
        self._sums_CH = _added(self._sums_CH, by_class)


def _one_class_each(codes: Sequence[Code], members: Members) -> tuple[list[Code], npt.NDArray[np.int64]]:
    """A code and a class for each pair."""
    if members.rows_N is None:
        return list(codes), members.classes_N
    return [codes[row] for row in members.rows_N.tolist()], members.classes_N


def _added(left: sp.csr_matrix, right: sp.csr_matrix) -> sp.csr_matrix:
    """The sum, in int32 while every entry is far from its limit, else in int64."""
    total = sp.csr_matrix(left + right)
    total.sort_indices()
    largest = max(int(total.data.max(initial=0)), -int(total.data.min(initial=0)))
    return total.astype(np.int32 if largest < _INT32_SAFE else np.int64, copy=False)
