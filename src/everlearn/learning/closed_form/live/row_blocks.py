"""Rows and triangles that grow row by row, in blocks: a block that is full never changes.

So appending copies nothing but the last block when it needs room, what is frozen reads on, and what is
published names the same files again for all blocks but the last.

Legend: R rows so far, B new ones or columns of a right side, M columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

import torch

__all__ = ["RowBlocks", "TriangleBlocks", "with_room"]

_FIRST_ROWS = 16
_GROWTH = 1.5
_BLOCK_ROWS = 128
_TRIANGLE_ROWS = 256


class _Blocks:
    """Rows in blocks, of which only the last one changes."""

    def __init__(self, first: torch.Tensor) -> None:
        self._blocks = [first]
        self._num_rows = 0

    def __len__(self) -> int:
        return self._num_rows

    @property
    def num_bytes(self) -> int:
        """Memory that the blocks take."""
        return sum(block.nbytes for block in self._blocks)

    def frozen(self) -> Self:
        """The rows of now, which stay as they are while these grow."""
        copy = type(self).__new__(type(self))
        copy._blocks, copy._num_rows = list(self._blocks), self._num_rows
        return copy


class RowBlocks(_Blocks):
    """Rows (R, M).

    Args:
        like: A tensor of the rows' type, where they live.
        num_columns: M.
    """

    def __init__(self, like: torch.Tensor, num_columns: int) -> None:
        super().__init__(like.new_zeros(0, num_columns))

    def trimmed(self) -> Self:
        """The rows of now, in blocks without room for more."""
        copy = self.frozen()
        last = self._num_rows - _BLOCK_ROWS * (len(self._blocks) - 1)
        if last < _BLOCK_ROWS:
            copy._blocks[-1] = self._blocks[-1][:last].clone()
        return copy

    def __iter__(self) -> Iterator[tuple[slice, torch.Tensor]]:
        """Which rows, and these."""
        for start in range(0, self._num_rows, _BLOCK_ROWS):
            stop = min(start + _BLOCK_ROWS, self._num_rows)
            yield slice(start, stop), self._blocks[start // _BLOCK_ROWS][: stop - start]

    def append(self, rows_BM: torch.Tensor) -> None:
        """Add rows behind the others."""
        while len(rows_BM):
            start = self._num_rows % _BLOCK_ROWS
            if self._num_rows and not start:
                self._blocks.append(rows_BM.new_zeros(0, rows_BM.shape[1]))
            stop = min(start + len(rows_BM), _BLOCK_ROWS)
            block = with_room(self._blocks[-1], stop, rows_BM.shape[1], most=_BLOCK_ROWS)
            block[start:stop] = rows_BM[: stop - start]
            self._blocks[-1] = block
            self._num_rows += stop - start
            rows_BM = rows_BM[stop - start :]


class TriangleBlocks(_Blocks):
    """A lower triangle (R, R), in blocks of rows from the first column to their diagonal.

    Args:
        like: A tensor of the numbers' type, where they live.
    """

    def __init__(self, like: torch.Tensor) -> None:
        super().__init__(like.new_zeros(0, 0))

    def trimmed(self) -> Self:
        """The triangle of now, in blocks without room for more, by which it is solved to the same bits."""
        copy = self.frozen()
        last, block = self._num_rows - _TRIANGLE_ROWS * (len(self._blocks) - 1), self._blocks[-1]
        if last < len(block):
            # A triangle that is the corner of a buffer is solved in another way: it stays one.
            columns = block.shape[1] if len(self._blocks) > 1 else last + (block.shape[1] > last)
            copy._blocks[-1] = block[:last, :columns].clone()
        return copy

    def append(self, left_BR: torch.Tensor, corner_BB: torch.Tensor) -> None:
        """Add rows below the others: what is left of the new columns, and their own triangle."""
        rows_BR = torch.cat([left_BR, corner_BB], dim=1)
        while len(rows_BR):
            start = self._num_rows % _TRIANGLE_ROWS
            if self._num_rows and not start:
                # Only the first block grows: it is all that a small learner has.
                self._blocks.append(rows_BR.new_zeros(_TRIANGLE_ROWS, self._num_rows + _TRIANGLE_ROWS))
            stop = min(start + len(rows_BR), _TRIANGLE_ROWS)
            block = self._blocks[-1]
            if len(self._blocks) == 1:
                block = with_room(block, stop, stop, most=_TRIANGLE_ROWS, is_square=True)
            last = self._num_rows + stop - start
            block[start:stop, :last] = rows_BR[: stop - start, :last]
            self._blocks[-1], self._num_rows = block, last
            rows_BR = rows_BR[stop - start :]

    def solve(self, right_RB: torch.Tensor) -> torch.Tensor:
        """L⁻¹ of a right side (R, B)."""
        rows = self._num_rows
        if rows <= _TRIANGLE_ROWS:
            return _solved(self._blocks[0][:rows, :rows], right_RB)
        solved_RB = right_RB.clone()
        for block, start in zip(self._blocks, range(0, rows, _TRIANGLE_ROWS), strict=True):
            stop = min(start + _TRIANGLE_ROWS, rows)
            part, own = solved_RB[start:stop], block[: stop - start]
            if start:
                part.addmm_(own[:, :start], solved_RB[:start], alpha=-1.0)
            part.copy_(_solved(own[:, start:stop], part))
        return solved_RB

    def whole(self) -> torch.Tensor:
        """The triangle (R, R), a copy."""
        whole_RR = self._blocks[0].new_zeros(self._num_rows, self._num_rows)
        for block, start in zip(self._blocks, range(0, self._num_rows, _TRIANGLE_ROWS), strict=False):
            stop = min(start + _TRIANGLE_ROWS, self._num_rows)
            whole_RR[start:stop, :stop] = block[: stop - start, :stop]
        return whole_RR


def _solved(triangle: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    solved: torch.Tensor = torch.linalg.solve_triangular(triangle, right, upper=False)
    return solved


def with_room(
    tensor: torch.Tensor, *sizes: int, most: int | None = None, is_square: bool = False
) -> torch.Tensor:
    """A buffer of which so much can be used: itself, or a larger one with the same beginning.

    Of the first size there is room to spare, so that appending row by row copies each row a few times only.

    Args:
        tensor: The buffer.
        sizes: How much of it, in each direction.
        most: Rows that it may have; None: any number.
        is_square: There is as much room to spare in the second direction.
    """
    if all(has >= wanted for has, wanted in zip(tensor.shape, sizes, strict=False)):
        return tensor
    first = len(tensor) if len(tensor) >= sizes[0] else max(sizes[0], _FIRST_ROWS, int(_GROWTH * len(tensor)))
    first = first if most is None else min(first, most)
    others = [max(has, wanted) for has, wanted in zip(tensor.shape[1:], sizes[1:], strict=True)]
    larger = tensor.new_zeros(first, *([first] if is_square else others))
    larger[tuple(slice(size) for size in tensor.shape)] = tensor
    return larger
