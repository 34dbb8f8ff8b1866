"""Rows of a metrics table, thinned so that an endless stream needs bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

from everlearn.errors import ConfigError
from everlearn.types import Json

__all__ = ["ThinnedRows"]

Row = TypeVar("Row")


class ThinnedRows(Generic[Row]):
    """Collects rows and halves their number, by merging neighbours, whenever there are too many.

    All rows but the last cover the same number of batches, a power of two, so resolution is even over
    the stream.

    Args:
        merge: Makes one row of two neighbours, told the row before them (None at the start).
        max_rows: There are never more; even, at least 2.

    Attributes:
        rows: The rows.
        batches_per_row: Batches that each row but the last covers.

    Raises:
        ConfigError: ``max_rows`` is odd or below 2.
    """

    def __init__(self, merge: Callable[[Row | None, Row, Row], Row], max_rows: int) -> None:
        if max_rows < 2 or max_rows % 2:
            raise ConfigError(f"max_rows must be even and at least 2, not {max_rows}")
        self.max_rows = max_rows
        self.batches_per_row = 1
        self.rows: list[Row] = []
        self._merge = merge
        self._batches_in_last = 1

    def add(self, row: Row) -> None:
        """Add the row of the batch just done."""
        if self.rows and self._batches_in_last < self.batches_per_row:
            before = self.rows[-2] if len(self.rows) > 1 else None
            self.rows[-1] = self._merge(before, self.rows[-1], row)
            self._batches_in_last += 1
            return
        if len(self.rows) == self.max_rows:
            self._halve()
        self.rows.append(row)
        self._batches_in_last = 1

    def _halve(self) -> None:
        rows: list[Row] = []
        before = None
        for first, second in zip(self.rows[::2], self.rows[1::2], strict=True):
            rows.append(self._merge(before, first, second))
            before = second
        self.rows = rows
        self.batches_per_row *= 2

    def metadata(self) -> dict[str, Json]:
        """What must be known beside the rows to go on."""
        return {
            "version": 1,
            "max_rows": self.max_rows,
            "batches_per_row": self.batches_per_row,
            "batches_in_last": self._batches_in_last,
        }

    def restore(self, rows: Sequence[Row], metadata: Mapping[str, Json]) -> None:
        """Go on from rows and what ``metadata`` gave of them."""
        self.rows = list(rows)
        self.batches_per_row = int(metadata["batches_per_row"])
        self._batches_in_last = int(metadata["batches_in_last"])
