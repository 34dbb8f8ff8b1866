"""Solving by a lower triangle that is the corner of a larger buffer."""

from __future__ import annotations

import torch

__all__ = ["solve_lower"]

_BLOCK = 256
_MANY_COLUMNS = 64  # as many cost more than a copy of the triangle


def solve_lower(factor_RR: torch.Tensor, right_RB: torch.Tensor) -> torch.Tensor:
    """L⁻¹ of a right side (R, B).

    The library copies a triangle that is not contiguous, which takes several times as long as solving for one
    column. By blocks of rows, nothing larger than a block is copied.
    """
    rows, columns = right_RB.shape
    if rows <= _BLOCK or columns > _MANY_COLUMNS or factor_RR.is_contiguous():
        solved: torch.Tensor = torch.linalg.solve_triangular(factor_RR, right_RB, upper=False)
        return solved
    solved = right_RB.clone()
    for start in range(0, rows, _BLOCK):
        block = slice(start, start + _BLOCK)
        part = solved[block]
        if start:
            part.addmm_(factor_RR[block, :start], solved[:start], alpha=-1.0)
        part.copy_(torch.linalg.solve_triangular(factor_RR[block, block], part, upper=False))
    return solved
