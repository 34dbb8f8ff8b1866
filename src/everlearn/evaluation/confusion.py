"""How often which label was taken for which: the pairs that occur, not a matrix of all that could."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from everlearn.types import Json

__all__ = ["Confusion"]

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Confusion:
    """Counts of (target, predicted) pairs, by row and then by column.

    Attributes:
        labels: Of rows and columns (C).
        rows: Place of the target among the labels (N).
        columns: Place of what was predicted (N).
        counts: How often (N); none is 0.
    """

    labels: tuple[str, ...]
    rows: Counts
    columns: Counts
    counts: Counts

    @classmethod
    def of(cls, labels: Sequence[str], rows: Counts, columns: Counts, counts: Counts) -> Confusion:
        """From pairs in any order, each once."""
        order = np.lexsort((columns, rows))
        order = order[counts[order] > 0]
        return cls(tuple(labels), rows[order], columns[order], counts[order])

    @classmethod
    def from_matrix(cls, labels: Sequence[str], matrix: npt.ArrayLike) -> Confusion:
        """From counts (C, C), rows targets, columns predictions.

        Raises:
            ValueError: The shapes do not fit.
        """
        counts = np.array(matrix, dtype=np.int64).reshape(len(labels), len(labels))
        rows, columns = np.nonzero(counts)
        return cls.of(labels, rows.astype(np.int64), columns.astype(np.int64), counts[rows, columns])

    @property
    def row_totals(self) -> Counts:
        """Examples of each target (C,)."""
        return np.bincount(self.rows, weights=self.counts, minlength=len(self.labels)).astype(np.int64)

    def among(self, chosen: Sequence[int]) -> Counts:
        """The matrix (K, K) of these labels, given by their places."""
        place = np.full(len(self.labels), -1, np.int64)
        place[list(chosen)] = np.arange(len(chosen))
        rows, columns = place[self.rows], place[self.columns]
        inside = (rows >= 0) & (columns >= 0)
        matrix = np.zeros((len(chosen), len(chosen)), np.int64)
        matrix[rows[inside], columns[inside]] = self.counts[inside]
        return matrix

    def matrix(self) -> Counts:
        """Counts (C, C). Needs 8 C² bytes."""
        return self.among(range(len(self.labels)))

    def to_json(self) -> dict[str, Json]:
        """As in ``confusion.json``; of C² numbers."""
        return {"labels": list(self.labels), "rows_are_targets": self.matrix().tolist()}
