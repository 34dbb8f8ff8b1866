"""Planning which token sequences share a forward pass, and where in its rows they lie.

Three plans of one form. *Packed* rows hold several sequences each, so almost no slot is padding. *Single*
rows hold one sequence each and are cut by length, for models that cannot be packed. *Fixed* rows hold one
sequence each in shapes that do not depend on what else is encoded.

Widths and numbers of rows come from a short list: a processor's library keeps compiled kernels and scratch
memory for every shape it has met, so over a long stream each new shape makes the process larger.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["SMALLEST_PACKED_WIDTH", "RowBatch", "plan_fixed", "plan_packed", "plan_single"]

IntArray = npt.NDArray[np.int64]

SMALLEST_PACKED_WIDTH = 32
_FIXED_SLOTS = 512
# 8, 16, 24, 32, 48, 64, 96, 128, ...: at most a third of a row is padding, in few shapes.
_WIDTHS = (8, 16, 24, 32, *(step << k for k in range(14) for step in (48, 64)))
_ROW_COUNTS = (1, *(step << k for k in range(14) for step in (2, 3)))  # 1, 2, 3, 4, 6, 8, 12, ...


@dataclass(frozen=True, slots=True)
class RowBatch:
    """One forward pass: R rows of W slots, and the place of each of its N sequences.

    Attributes:
        width: W, slots in a row.
        num_rows: R.
        sequences: Which sequences, by their index in the plan's input (N,).
        rows: Row of each (N,).
        segments: Number of each within its row, from 0 (N,).
        offsets: First slot of each within its row (N,).
        lengths: Tokens of each (N,).
    """

    width: int
    num_rows: int
    sequences: IntArray
    rows: IntArray
    segments: IntArray
    offsets: IntArray
    lengths: IntArray


def plan_packed(
    lengths: Sequence[int], token_budget: int, max_width: int, most_in_row: int | None = None
) -> list[RowBatch]:
    """Put several sequences in a row, by best fit in order of decreasing length.

    A batch is as wide as its first sequence needs (at least 32) and takes rows until the budget is spent or
    the sequences have become much shorter than the rows; holes are filled to the end.

    Args:
        lengths: Tokens of each sequence, all at least 1.
        token_budget: Slots in a batch, at most; one row is always allowed.
        max_width: Tokens that the model takes in a row, at least the longest sequence's.
        most_in_row: Sequences in a row, at most; None: as many as fit.
    """
    widths: list[int] = []
    num_rows: list[int] = []
    members: list[list[tuple[int, int, int, int, int]]] = []
    holes: list[tuple[int, int, int, int]] = []  # (slots left, batch, row, sequences in it), sorted
    for sequence in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        length = lengths[sequence]
        best = bisect_left(holes, (length, 0, 0, 0))
        if best < len(holes):
            left, batch, row, segment = holes.pop(best)
        else:
            if (
                not widths
                or (num_rows[-1] + 1) * widths[-1] > token_budget
                or widths[-1] > 2 * max(length, SMALLEST_PACKED_WIDTH // 2)
            ):
                widths.append(_width_for(max(length, SMALLEST_PACKED_WIDTH), max_width))
                num_rows.append(0)
                members.append([])
            batch, row, segment = len(widths) - 1, num_rows[-1], 0
            left = widths[-1]
            num_rows[-1] += 1
        members[batch].append((sequence, row, segment, widths[batch] - left, length))
        if left > length and (most_in_row is None or segment + 1 < most_in_row):
            insort(holes, (left - length, batch, row, segment + 1))
    return [
        _row_batch(width, _row_count_for(rows, width, token_budget), batch)
        for width, rows, batch in zip(widths, num_rows, members, strict=True)
    ]


def plan_single(lengths: Sequence[int], token_budget: int, max_width: int) -> list[RowBatch]:
    """Put one sequence in a row; batches of like length within the budget, the longest first.

    Arguments are those of ``plan_packed``.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
    batches, start = [], 0
    while start < len(order):
        width = _width_for(lengths[order[start]], max_width)
        chosen = order[start : start + max(1, token_budget // width)]
        start += len(chosen)
        batches.append(_one_a_row(width, _row_count_for(len(chosen), width, token_budget), chosen, lengths))
    return batches


def plan_fixed(lengths: Sequence[int], max_width: int, spare_row: bool = False) -> list[RowBatch]:
    """Put one sequence in a row of shapes that are a function of that sequence's length alone.

    Args:
        lengths: Tokens of each sequence, all at least 1.
        max_width: Tokens that the model takes in a row, at least the longest sequence's.
        spare_row: Leave the last row of every batch empty, so that every batch holds padding.
    """
    by_width: dict[int, list[int]] = {}
    for sequence, length in enumerate(lengths):
        by_width.setdefault(_width_for(length, max_width), []).append(sequence)
    batches = []
    for width, members in sorted(by_width.items()):
        capacity = max(1, _FIXED_SLOTS // width)
        for start in range(0, len(members), capacity):
            chosen = members[start : start + capacity]
            batches.append(_one_a_row(width, capacity + spare_row, chosen, lengths))
    return batches


def _width_for(length: int, max_width: int) -> int:
    return min(max_width, _WIDTHS[bisect_left(_WIDTHS, length)])


def _row_count_for(num_rows: int, width: int, token_budget: int) -> int:
    """The next number on the list, or as many rows as the budget allows where those are fewer."""
    fitting = max(num_rows, token_budget // width)
    return min(fitting, _ROW_COUNTS[bisect_left(_ROW_COUNTS, num_rows)])


def _one_a_row(width: int, num_rows: int, chosen: Sequence[int], lengths: Sequence[int]) -> RowBatch:
    members = [(sequence, row, 0, 0, lengths[sequence]) for row, sequence in enumerate(chosen)]
    return _row_batch(width, num_rows, members)


def _row_batch(width: int, num_rows: int, members: Sequence[tuple[int, int, int, int, int]]) -> RowBatch:
    sequences, rows, segments, offsets, lengths = np.array(members, dtype=np.int64).T
    return RowBatch(width, num_rows, sequences, rows, segments, offsets, lengths)
