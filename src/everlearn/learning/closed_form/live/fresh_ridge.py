"""The ridge expert with everything that was learned, at any moment.

A base (see ``ridge_base``) is made now and then; what is learned after it are rows (see ``signed_rows``).
Together they say what a solution of all examples with the base's λ would say, to rounding.

Legend: B examples, S members of a sample, R rows, N of the base (or pairs of an example and a class), M
features, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

import torch

from everlearn.learning.closed_form.live.ridge_base import DualBase, ExactProducts, RidgeBase, Vectors
from everlearn.learning.closed_form.live.row_blocks import RowBlocks, with_room
from everlearn.learning.closed_form.live.signed_rows import SignedRows

__all__ = ["FreshRidge", "Seen"]


@dataclass(frozen=True, slots=True)
class Seen:
    """Examples as base and rows see them: what a prediction and learning need alike.

    Attributes:
        vectors: By the base.
        base_BC: Scores by the base.
        half_RB: Projected onto the rows.
    """

    vectors: Vectors
    base_BC: torch.Tensor
    half_RB: torch.Tensor


class FreshRidge:
    """Scores by a base and rows. Classes of the base come first, new ones as they are given.

    Args:
        base: The base.
    """

    def __init__(self, base: RidgeBase) -> None:
        self._base = base
        self._rows = SignedRows(base.prior_C)
        self._num_own = 0  # rows that are the base's own examples
        self._inputs: RowBlocks | None = None  # of the rows since
        self._means = torch.zeros(0, dtype=torch.float64, device=base.prior_C.device)

    @classmethod
    def of_few(
        cls,
        base: DualBase,
        products: ExactProducts,
        classes_N: torch.Tensor,
        rows_N: torch.Tensor | None = None,
    ) -> Self:
        """Of a base of few examples, whose products and classes are given: they are the first rows.

        Args:
            base: The base.
            products: Of its examples.
            classes_N: Their classes.
            rows_N: Which example each class is of; None: each is of one.
        """
        fresh = cls(base)
        residuals_NC = -base.prior_C.repeat(base.num_examples, 1)
        residuals_NC[_rows(rows_N, base.num_examples), classes_N] += 1
        nothing = base.prior_C.new_zeros(0, base.num_examples)
        fresh._rows.append(nothing, base.among_own(products), residuals_NC)
        fresh._num_own = base.num_examples
        return fresh

    @property
    def num_bytes(self) -> int:
        """About how much memory the rows take."""
        return self._rows.num_bytes + (0 if self._inputs is None else self._inputs.num_bytes)

    def frozen(self) -> Self:
        """As it is now; it stays so while this one learns."""
        copy = type(self)(self._base)
        copy.__dict__.update(self.__dict__)
        copy._rows = self._rows.frozen()
        copy._inputs = None if self._inputs is None else self._inputs.frozen()
        return copy

    def trimmed(self) -> Self:
        """As it is now, in buffers without room for more."""
        copy = self.frozen()
        copy._rows = self._rows.trimmed()
        num_since = len(self._rows) - self._num_own
        copy._means = self._means[:num_since].clone()
        copy._inputs = None if self._inputs is None else self._inputs.trimmed()
        return copy

    def see(self, features_BM: torch.Tensor) -> Seen:
        """Look at examples, given as int8 features."""
        vectors = self._base.vectors(features_BM)
        kernel_RB = self._base.own_covariances(vectors)
        if self._inputs is not None:
            # What is said of the mean of the base's examples is not certain either: the intercept's part.
            since = [
                self._base.covariances(Vectors(inputs, self._means[part]), vectors)
                + 1 / self._base.num_examples
                for part, inputs in self._inputs
            ]
            kernel_RB = torch.cat([kernel_RB, *since])
        return Seen(vectors, self._base.scores(features_BM), self._rows.project(kernel_RB))

    def scores(self, seen: Seen) -> torch.Tensor:
        """Scores (B, C)."""
        scores_BC = self._rows.corrections(seen.half_RB)
        if not len(self._rows):
            return seen.base_BC.clone()
        scores_BC[:, : seen.base_BC.shape[1]] += seen.base_BC
        return scores_BC

    def leverages(self, seen: Seen) -> torch.Tensor:
        """How far examples (B,) are from everything learned: the variance of what is said of them."""
        own_B = self._base.variances(seen.vectors) + 1 / self._base.num_examples
        return own_B - self._rows.explained(seen.half_RB)

    def add(
        self,
        seen: Seen,
        classes_N: torch.Tensor,
        num_classes: int,
        sign: Literal[1, -1] = 1,
        rows_N: torch.Tensor | None = None,
    ) -> bool:
        """Learn examples, or take them out again.

        Args:
            seen: What this object saw of them, as it is now.
            classes_N: Their classes.
            num_classes: C, new ones included.
            sign: 1, or -1 to take out.
            rows_N: Which example each class is of; None: each is of one.

        Returns:
            False: they cannot be taken out in this precision; nothing was changed.
        """
        residuals_BC = seen.base_BC.new_zeros(len(seen.base_BC), num_classes)
        residuals_BC[:, : seen.base_BC.shape[1]] -= seen.base_BC
        residuals_BC[_rows(rows_N, len(residuals_BC)), classes_N] += 1
        if len(residuals_BC) == 1:  # quicker, and the same
            block_BB = self._base.variances(seen.vectors)[:, None]
        else:
            block_BB = self._base.covariances(seen.vectors, seen.vectors)
        block_BB = block_BB + 1 / self._base.num_examples
        if not self._rows.append(seen.half_RB, block_BB, residuals_BC, sign):
            return False
        self._keep(seen.vectors)
        return True

    def without_self(
        self, members_S: torch.Tensor, classes_N: torch.Tensor, rows_N: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Leave-one-out scores (S, C) and leverages (S,) of some of few examples, before others came.

        Args:
            members_S: Which of the base's examples.
            classes_N: Their classes.
            rows_N: Which of them each class is of; None: each is of one.
        """
        left_SC, leverages_S = self._rows.left_of(members_S)
        leverages_S = (leverages_S + 1 / self._base.num_examples).clamp(max=1 - 1e-6)
        # target - (target - score) / (1 - leverage), where target - score is what is left.
        scores_SC = -left_SC / (1 - leverages_S)[:, None]
        scores_SC[_rows(rows_N, len(members_S)), classes_N] += 1
        return scores_SC, leverages_S / (1 - leverages_S)

    def _keep(self, vectors: Vectors) -> None:
        # What is in a buffer never changes, so a frozen copy may go on reading it.
        if self._inputs is None:
            self._inputs = RowBlocks(vectors.inputs, vectors.inputs.shape[1])
        start, stop = len(self._inputs), len(self._inputs) + len(vectors.inputs)
        self._inputs.append(vectors.inputs)
        self._means = with_room(self._means, stop)
        self._means[start:stop] = vectors.means_B


def _rows(rows_N: torch.Tensor | None, num_examples: int) -> torch.Tensor:
    return torch.arange(num_examples) if rows_N is None else rows_N
