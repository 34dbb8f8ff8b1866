"""Rows added to a ridge solution one after another, each at the price of one triangular solve.

A ridge solution is the mean of a Gaussian posterior, whose covariance k(x, x') says how what is learned of
one example moves what is said of another. Examples that came since are rows with residuals E: what each
should be, less what the solution says of it. With all of them

    f(x) = f₀(x) + k_xᵀ (S + K)⁻¹ E,

which is the ridge solution of all examples, to rounding (Woodbury's identity; Rasmussen and Williams,
"Gaussian Processes for Machine Learning", 2006, ch. 2). S is +1 for a row that is added and -1 for one that
is taken out. The factor L J Lᵀ of S + K (J: signs) grows by a row with each, and what a prediction computes
is what learning appends.

Legend: R rows so far, B new ones, C classes.
"""

from __future__ import annotations

from typing import Literal, Self

import torch

from everlearn.learning.closed_form.live.row_blocks import TriangleBlocks, with_room

__all__ = ["SignedRows"]

_LEAST_PIVOT = 1e-3
"""Taking a row out divides by one minus its leverage, of which float32 loses digits of the row's variance."""


class SignedRows:
    """The factor of S + K, and the residuals solved by it.

    What is in a buffer never changes, and a buffer that is too small is copied: ``frozen`` costs nothing.

    Args:
        like: A tensor of the numbers' type, where they live.
    """

    def __init__(self, like: torch.Tensor) -> None:
        self._factor = TriangleBlocks(like)
        self._signs = like.new_zeros(0)
        self._solved = like.new_zeros(0, 0)

    def __len__(self) -> int:
        return len(self._factor)

    @property
    def num_bytes(self) -> int:
        """Memory that the buffers take."""
        return self._factor.num_bytes + self._signs.nbytes + self._solved.nbytes

    @property
    def dtype(self) -> torch.dtype:
        """Of the numbers."""
        return self._signs.dtype

    def frozen(self) -> Self:
        """The rows of now, which stay as they are while these grow."""
        copy = type(self)(self._signs)
        copy.__dict__.update(self.__dict__)
        copy._factor = self._factor.frozen()
        return copy

    def trimmed(self) -> Self:
        """The rows of now, in buffers without room for more, which say the same to the bit."""
        copy, rows = self.frozen(), len(self)
        copy._factor = self._factor.trimmed()
        copy._signs, copy._solved = self._signs[:rows].clone(), self._solved[:rows].clone()
        return copy

    def project(self, kernel_RB: torch.Tensor) -> torch.Tensor:
        """L⁻¹ k (R, B) of examples, of whose covariances with the rows ``kernel_RB`` is made: O(R²) each."""
        return self._factor.solve(kernel_RB)

    def corrections(self, half_RB: torch.Tensor) -> torch.Tensor:
        """What the rows add to the scores (B, C) of projected examples."""
        rows = len(self)
        return half_RB.T @ (self._signs[:rows, None] * self._solved[:rows])

    def explained(self, half_RB: torch.Tensor) -> torch.Tensor:
        """How much of the variance of each projected example (B,) the rows have taken away."""
        return (half_RB.square() * self._signs[: len(self), None]).sum(dim=0)

    def left_of(self, members_S: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What rows (all of them added) leave of some rows' residuals: (S, C), and of their leverages (S,).

        With P = (1 + K)⁻¹ a row's residual that is left is (P E)_s, and its leverage 1 - P_ss.
        """
        rows = len(self)
        units_RS = self._signs.new_zeros(rows, len(members_S))
        units_RS[members_S, torch.arange(len(members_S))] = 1
        half_RS = self._factor.solve(units_RS)
        return half_RS.T @ self._solved[:rows], 1 - half_RS.square().sum(dim=0)

    def duals(self) -> torch.Tensor:
        """(S + K)⁻¹ E (R, C): scores are products of covariances with it."""
        rows = len(self)
        signed_RC = self._signs[:rows, None] * self._solved[:rows]
        solved: torch.Tensor = torch.linalg.solve_triangular(self._factor.whole().T, signed_RC, upper=True)
        return solved

    def append(
        self,
        half_RB: torch.Tensor,
        block_BB: torch.Tensor,
        residuals_BC: torch.Tensor,
        sign: Literal[1, -1] = 1,
    ) -> bool:
        """Add rows, or take out rows that were learned.

        Args:
            half_RB: Their projection.
            block_BB: Their covariances with each other before there were any rows.
            residuals_BC: Their residuals; classes behind the known ones are new.
            sign: 1, or -1 to take them out.

        Returns:
            False: they cannot be taken out in this precision; nothing was changed.
        """
        rows, num = len(self), len(block_BB)
        if not num:
            return True
        signed_RB = self._signs[:rows, None] * half_RB
        # What the rows before leave unexplained.
        rest_BB = block_BB - half_RB.T @ signed_RB
        rest_BB.diagonal().add_(sign)
        corner, failed = torch.linalg.cholesky_ex(rest_BB * sign)
        least = _LEAST_PIVOT * max(1.0, float(block_BB.diagonal().max()))
        if int(failed) or (sign < 0 and float(corner.diagonal().min()) ** 2 < least):
            return False
        self._make_room(rows + num, residuals_BC.shape[1])
        new, known = slice(rows, rows + num), residuals_BC.shape[1]
        left_BC = residuals_BC - signed_RB.T @ self._solved[:rows, :known]
        self._signs[new] = sign
        self._solved[new, :known] = torch.linalg.solve_triangular(corner, left_BC, upper=False)
        self._factor.append(signed_RB.T, corner)
        return True

    def _make_room(self, num_rows: int, num_classes: int) -> None:
        self._signs = with_room(self._signs, num_rows)
        self._solved = with_room(self._solved, len(self._signs), num_classes)
