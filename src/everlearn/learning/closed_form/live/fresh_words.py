"""The word-ridge expert with everything that was learned, at any moment.

Texts that came since are rows (see ``signed_rows``). Of few examples all are rows, behind nothing, and what
they say is exact. Of many there is a base, fitted on a sample, and rows move it as far as it is open to be
moved: the weight of a gram that the base has seen often hardly, that of a new one freely. So new words and
new labels are known at once, and what the base knows stays.

Legend: B texts, R rows, N of few examples, S judged ones, H hash columns, K of them with a row, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch

from everlearn.learning.closed_form.live.signed_rows import SignedRows
from everlearn.learning.closed_form.word_ridge import STRENGTH, WordRidge, compact
from everlearn.types import FloatArray

__all__ = ["FreshWords", "GramRows", "SeenWords"]

_MOST_LAST = 64  # rows behind the others: joining them is a pass over all
_FEW = 8  # of so many texts products are taken one by one


@dataclass(frozen=True, slots=True, eq=False)
class SeenWords:
    """Texts as base and rows see them: what a prediction and learning need alike.

    Attributes:
        rows: As rows.
        base_BC: Scores by the base.
        half_RB: Projected onto the rows.
    """

    rows: GramRows
    base_BC: torch.Tensor
    half_RB: torch.Tensor


class FreshWords:
    """Scores by a base and rows. Classes of the base come first, new ones as they are given.

    Args:
        base: Fitted on many texts; None: there is none.
        dtype: Of what is computed of the rows.
    """

    def __init__(self, base: WordRidge | None, dtype: torch.dtype = torch.float32) -> None:
        self._base = base
        self._inputs = GramRows.none()
        self._last_inputs = GramRows.none()  # behind them
        self._solved = SignedRows(torch.zeros(0, dtype=dtype))

    @classmethod
    def of_few(
        cls,
        counts_NH: sp.csr_matrix,
        classes_N: npt.NDArray[np.int64],
        num_classes: int,
        dtype: torch.dtype = torch.float32,
    ) -> Self:
        """Of few examples, all of which are rows."""
        fresh = cls(None, dtype)
        fresh.add(fresh.see(counts_NH), classes_N, num_classes)
        return fresh

    @property
    def num_bytes(self) -> int:
        """About how much memory it takes."""
        base = 0 if self._base is None else self._base.num_bytes
        return base + self._solved.num_bytes + self._inputs.num_bytes + self._last_inputs.num_bytes

    def frozen(self) -> Self:
        """As it is now; it stays so while this one learns."""
        copy = type(self)(self._base)
        copy.__dict__.update(self.__dict__)
        copy._solved = self._solved.frozen()
        return copy  # what is held of the rows is replaced, never changed

    def see(self, counts_BH: sp.csr_matrix) -> SeenWords:
        """Look at texts, given as hashed counts of their grams."""
        columns, vectors = compact(counts_BH)
        if self._base is None:
            base_BC = np.zeros((counts_BH.shape[0], 0))
        else:
            base_BC = self._base.scores(counts_BH)
            openness = np.sqrt(self._base.openness(columns)).astype(np.float32)
            vectors.data *= openness[vectors.indices]
        rows = GramRows(columns, vectors)
        products = [self._inputs.products(rows), self._last_inputs.products(rows)]
        kernel_RB = self._tensor(np.concatenate(products)).div_(STRENGTH)
        return SeenWords(rows, self._tensor(base_BC), self._solved.project(kernel_RB))

    def scores(self, seen: SeenWords) -> FloatArray:
        """Scores (B, C)."""
        num_known = seen.base_BC.shape[1]
        if not len(self._solved):
            return np.asarray(seen.base_BC.double().numpy())
        scores_BC = self._solved.corrections(seen.half_RB)
        scores_BC[:, :num_known] += seen.base_BC
        return np.asarray(scores_BC.double().numpy())

    def add(self, seen: SeenWords, classes_B: npt.NDArray[np.int64], num_classes: int) -> None:
        """Learn texts.

        Args:
            seen: What this object saw of them, as it is now.
            classes_B: Their classes.
            num_classes: C, new ones included.
        """
        residuals_BC = seen.base_BC.new_zeros(len(classes_B), num_classes)
        residuals_BC[:, : seen.base_BC.shape[1]] -= seen.base_BC
        residuals_BC[torch.arange(len(classes_B)), torch.from_numpy(classes_B)] += 1
        block_BB = self._tensor(seen.rows.products(seen.rows)).div_(STRENGTH)
        # One is added to the diagonal of a matrix without negative eigenvalues: it cannot fail.
        is_added = self._solved.append(seen.half_RB, block_BB, residuals_BC)
        assert is_added
        self._last_inputs = self._last_inputs.joined(seen.rows)
        if len(self._last_inputs) > _MOST_LAST:
            self._inputs, self._last_inputs = self._inputs.joined(self._last_inputs), GramRows.none()

    def without_self(self, classes_S: npt.NDArray[np.int64]) -> FloatArray:
        """Leave-one-out scores (S, C) of the first of few examples, of the given classes."""
        num = len(classes_S)
        left_SC, leverages_S = self._solved.left_of(torch.arange(num))
        # target - (target - score) / (1 - leverage), where target - score is what is left.
        scores_SC = -left_SC / (1 - leverages_S).clamp(min=1e-6)[:, None]
        scores_SC[torch.arange(num), torch.from_numpy(classes_S)] += 1
        return np.asarray(scores_SC.double().numpy())

    def settled(self, counts_NH: sp.csr_matrix) -> WordRidge:
        """The weights that few examples come to, of whose counts this was made."""
        return WordRidge.of_duals(counts_NH, self._solved.duals().numpy() / STRENGTH)

    def _tensor(self, array: npt.NDArray[np.floating]) -> torch.Tensor:
        return torch.from_numpy(array).to(self._solved.dtype)


@dataclass(frozen=True, slots=True, eq=False)
class GramRows:
    """Sparse vectors, of the columns that they have.

    Attributes:
        columns_K: Hash columns, ascending.
        vectors_RK: CSR, float32.
    """

    columns_K: npt.NDArray[np.int64]
    vectors_RK: sp.csr_matrix

    @classmethod
    def none(cls) -> GramRows:
        """No rows."""
        return cls(np.zeros(0, np.int64), sp.csr_matrix((0, 0), dtype=np.float32))

    def __len__(self) -> int:
        return int(self.vectors_RK.shape[0])

    @property
    def num_bytes(self) -> int:
        """How much memory they take."""
        vectors = self.vectors_RK
        return int(self.columns_K.nbytes + vectors.data.nbytes + vectors.indices.nbytes)

    def products(self, others: GramRows) -> npt.NDArray[np.float32]:
        """With each of the others (R, B)."""
        num, vectors = len(self.columns_K), others.vectors_RK
        shape = (num, vectors.shape[0])
        if not num or not len(others.columns_K):
            return np.zeros((len(self), shape[1]), np.float32)
        places = np.minimum(np.searchsorted(self.columns_K, others.columns_K), num - 1)
        is_shared = (self.columns_K[places] == others.columns_K)[vectors.indices]
        rows = np.repeat(np.arange(shape[1]), np.diff(vectors.indptr))[is_shared]
        columns, values = places[vectors.indices[is_shared]], vectors.data[is_shared]
        if shape[1] <= _FEW:
            # A sparse matrix takes longer to make than to multiply.
            dense_KB = np.zeros(shape, np.float32)
            dense_KB[columns, rows] = values
            return np.asarray(self.vectors_RK @ dense_KB)
        return np.asarray((self.vectors_RK @ sp.csr_matrix((values, (columns, rows)), shape=shape)).toarray())

    def joined(self, *others: GramRows) -> GramRows:
        """These, and the others behind them."""
        rows = [one for one in (self, *others) if len(one)]
        if len(rows) < 2:
            return rows[0] if rows else self
        columns_K = np.unique(np.concatenate([one.columns_K for one in rows]))
        vectors = [one.vectors_RK for one in rows]
        columns = [
            np.searchsorted(columns_K, one.columns_K)[one.vectors_RK.indices].astype(np.int32) for one in rows
        ]
        lengths = np.concatenate([np.diff(one.indptr) for one in vectors])
        starts = np.append(0, np.cumsum(lengths)).astype(np.int32)
        data = np.concatenate([one.data for one in vectors])
        shape = (len(lengths), len(columns_K))
        return GramRows(columns_K, sp.csr_matrix((data, np.concatenate(columns), starts), shape=shape))
