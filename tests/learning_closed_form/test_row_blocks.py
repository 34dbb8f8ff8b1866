"""Rows and triangles in blocks are what they would be in one piece, and stay so where they are frozen."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from everlearn.learning.closed_form.live.row_blocks import RowBlocks, TriangleBlocks

BATCHES = st.lists(st.sampled_from([1, 2, 15, 127, 128, 129, 256, 300]), max_size=6)


def _rows_of(blocks: RowBlocks) -> torch.Tensor:
    return torch.cat([torch.zeros(0, 7), *(rows for _, rows in blocks)])


@given(BATCHES)
def test_rows_are_those_that_were_appended(batches: list[int]) -> None:
    like, blocks = torch.zeros(0), RowBlocks(torch.zeros(0), 7)
    given_rows = [torch.randn(num, 7, generator=torch.Generator().manual_seed(num)) for num in batches]
    before = []
    for rows in given_rows:
        before.append((blocks.frozen(), blocks.trimmed(), _rows_of(blocks)))
        blocks.append(rows)
    assert torch.equal(_rows_of(blocks), torch.cat([torch.zeros(0, 7), *given_rows]))
    assert len(blocks) == sum(batches)
    places = [row for part, _ in blocks for row in range(part.start, part.stop)]
    assert places == list(range(len(blocks)))
    for frozen, trimmed, rows in before:
        assert torch.equal(_rows_of(frozen), rows)
        assert torch.equal(_rows_of(trimmed), rows)
        assert trimmed.num_bytes == len(rows) * 7 * like.element_size()
    # All blocks but the last are the very same memory.
    known = {rows.data_ptr() for _, rows in list(blocks)[:-1]}
    assert known == {rows.data_ptr() for _, rows in list(blocks.trimmed())[:-1]}


def _triangle(num: int) -> torch.Tensor:
    """A factor of some covariances and a one."""
    inputs = torch.randn(num, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(num))
    factor: torch.Tensor = torch.linalg.cholesky(inputs @ inputs.T / 40 + torch.eye(num, dtype=torch.float64))
    return factor


@given(BATCHES, st.sampled_from([1, 3, 70]))
def test_a_triangle_is_solved_as_in_one_piece(batches: list[int], columns: int) -> None:
    num = sum(batches)
    whole = _triangle(num).float() if num else torch.zeros(0, 0)
    right = torch.randn(num, columns, generator=torch.Generator().manual_seed(1))
    blocks, start, before = TriangleBlocks(torch.zeros(0)), 0, []
    for size in batches:
        before.append((blocks.frozen(), blocks.trimmed(), start, blocks.solve(right[:start])))
        stop = start + size
        blocks.append(whole[start:stop, :start], whole[start:stop, start:stop])
        start = stop
    assert len(blocks) == num
    assert torch.equal(blocks.whole(), whole)
    expected = torch.linalg.solve_triangular(whole.double(), right.double(), upper=False)
    assert torch.allclose(blocks.solve(right).double(), expected, atol=1e-4)
    for frozen, trimmed, rows, solved in before:
        assert torch.equal(frozen.whole(), whole[:rows, :rows])
        assert torch.equal(frozen.solve(right[:rows]), solved)
        assert torch.equal(trimmed.solve(right[:rows]), solved)
    assert torch.equal(blocks.trimmed().solve(right), blocks.solve(right))
