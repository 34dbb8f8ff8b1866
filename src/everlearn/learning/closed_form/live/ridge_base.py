"""What a ridge solution says of examples before what came since is added: from sums, or from few examples.

A base is a solution with all that ``FreshRidge`` needs of it: scores, and the covariance of what any two
examples are said to be (in units of the noise). Of many examples it is the solution of the sums
(``PrimalBase``); of few it is their mean alone, and the examples themselves are the first rows
(``DualBase``): then no matrix is larger than their number.

Inputs are centred by the mean of the base's examples, so intercept and weights do not depend on each other.

Legend: B examples, R others, N of the base, M features (m of them used), C classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from everlearn.learning.closed_form.integer_products import int8_row_products
from everlearn.learning.closed_form.ridge import RidgeSolution
from everlearn.learning.closed_form.shrinkage import Shrinkage

__all__ = ["DualBase", "ExactProducts", "PrimalBase", "RidgeBase", "Vectors"]


@dataclass(frozen=True, slots=True)
class Vectors:
    """Some examples as a base sees them.

    Attributes:
        inputs: What products are taken of: L⁻¹φ, float32 (B, m), or features, int8 (B, M).
        means_B: Float64 products with the mean of the base's examples; 0 where inputs are centred.
    """

    inputs: torch.Tensor
    means_B: torch.Tensor


class RidgeBase(Protocol):
    """A solution that rows are added to.

    Attributes:
        num_examples: N.
        prior_C: Share of each class, the intercept.
    """

    num_examples: int
    prior_C: torch.Tensor

    def own_covariances(self, others: Vectors) -> torch.Tensor:
        """Covariances (R, B) of those of its own examples that are rows, the intercept's left out."""
        ...

    def vectors(self, features_BM: torch.Tensor) -> Vectors:
        """What is kept of examples, of whose int8 features it is made."""
        ...

    def scores(self, features_BM: torch.Tensor) -> torch.Tensor:
        """Scores (B, C) without any rows."""
        ...

    def covariances(self, rows: Vectors, others: Vectors) -> torch.Tensor:
        """Covariances (R, B), the intercept's left out."""
        ...

    def variances(self, vectors: Vectors) -> torch.Tensor:
        """Covariance of each (B,) with itself, the intercept's left out."""
        ...


class PrimalBase:
    """A solution of the sums, with its whole factor.

    Args:
        ridge: The solution; its factor must not be trimmed.
    """

    def __init__(self, ridge: RidgeSolution) -> None:
        self._ridge = ridge
        self.num_examples = ridge.num_examples
        self.prior_C = ridge.prior_C

    def own_covariances(self, others: Vectors) -> torch.Tensor:
        """See RidgeBase: its examples are in the solution, none is a row."""
        return self.prior_C.new_zeros(0, len(others.inputs))

    def vectors(self, features_BM: torch.Tensor) -> Vectors:
        """See RidgeBase."""
        ridge = self._ridge
        centred_Bm = (features_BM[:, : ridge.num_features].float() - ridge.mean_m) / ridge.root_scale
        factor = ridge.factor_mm
        half_mB = torch.linalg.solve_triangular(factor, centred_Bm.T.to(factor.dtype), upper=False).float()
        zeros_B = torch.zeros(len(features_BM), dtype=torch.float64, device=half_mB.device)
        return Vectors(half_mB.T.contiguous(), zeros_B)

    def scores(self, features_BM: torch.Tensor) -> torch.Tensor:
        """See RidgeBase."""
        return self._ridge.scores(features_BM)

    def covariances(self, rows: Vectors, others: Vectors) -> torch.Tensor:
        """See RidgeBase."""
        return rows.inputs @ others.inputs.T

    def variances(self, vectors: Vectors) -> torch.Tensor:
        """See RidgeBase."""
        return vectors.inputs.square().sum(dim=1)


class ExactProducts:
    """Products of few examples' features, exact integers, and what centres them.

    Args:
        features: Gives the int8 features (N, M), now and later.
        sketched: Which of the features are the sketch's, ascending; None: none.

    Attributes:
        features: As given.
        sketched: As given; empty where there are none.
        num_examples: N.
        total_M: Sum of the features, in float64.
        scale: Mean squared norm of a centred example; 1 where all examples are equal (or there is one).
    """

    def __init__(self, features: Callable[[], torch.Tensor], sketched: torch.Tensor | None = None) -> None:
        self.features = features
        features_NM = features()
        device = features_NM.device
        self.sketched = torch.zeros(0, dtype=torch.int64, device=device) if sketched is None else sketched
        self.num_examples = len(features_NM)
        # Exact in float64: sums of at most 2**53 / 127 / M.
        self.total_M = features_NM.sum(dim=0, dtype=torch.int64).double()
        self._all_NN = int8_row_products(features_NM, features_NM)
        own = features_NM[:, self.sketched]
        self._sketched_NN = int8_row_products(own, own) if len(self.sketched) else None
        trace = float((self._all_NN.diagonal().double() - self._all_NN.double().mean(dim=0)).sum())
        self.scale = trace / self.num_examples if trace > 0 else 1.0

    def weighted(self, sketch_weight: float) -> torch.Tensor:
        """The products (N, N) with the sketch's part of them weighted, float64."""
        products_NN = self._all_NN.double()
        if self._sketched_NN is not None and sketch_weight != 1:
            products_NN.add_(self._sketched_NN, alpha=sketch_weight - 1)
        return products_NN


class DualBase:
    """The mean of few examples; what they say beyond it is for rows to tell.

    All but the products is in float64: matrices are small. Neither products nor features are held.

    Args:
        products: Of the base's examples.
        counts_C: Examples of each class.
        shrinkage: λ in units of ``scale``, and the sketch's weight.
        scale: Default: the mean squared norm of a centred example.
    """

    def __init__(
        self,
        products: ExactProducts,
        counts_C: torch.Tensor,
        shrinkage: Shrinkage,
        scale: float | None = None,
    ) -> None:
        self._features = products.features
        self._sketched = products.sketched
        self._weight = shrinkage.sketch_weight
        self._means_N = products.weighted(self._weight).mean(dim=0)
        self._mean_square = float(self._means_N.mean())
        # Products with it are those with the mean, weighted.
        self._total_M = products.total_M.clone()
        self._total_M[self._sketched] *= self._weight
        self._strength = shrinkage.strength * (products.scale if scale is None else scale)
        self.num_examples = products.num_examples
        self.prior_C = counts_C.double().to(products.total_M.device) / self.num_examples

    def among_own(self, products: ExactProducts) -> torch.Tensor:
        """Covariances (N, N) of the base's examples with each other."""
        return self._centred(products.weighted(self._weight), self._means_N, self._means_N)

    def own_covariances(self, others: Vectors) -> torch.Tensor:
        """See RidgeBase: all its examples are rows."""
        return self.covariances(Vectors(self._features(), self._means_N), others)

    def vectors(self, features_BM: torch.Tensor) -> Vectors:
        """See RidgeBase."""
        own_BM = features_BM[:, : len(self._total_M)]
        return Vectors(own_BM, own_BM.double() @ self._total_M / self.num_examples)

    def scores(self, features_BM: torch.Tensor) -> torch.Tensor:
        """See RidgeBase."""
        return self.prior_C.expand(len(features_BM), -1)

    def covariances(self, rows: Vectors, others: Vectors) -> torch.Tensor:
        """See RidgeBase."""
        others_BM, num = others.inputs, len(others.inputs)
        if len(self._sketched) and self._weight != 1:
            # The sketch's products in the same pass over the rows, which are many: others without the rest.
            others_BM = torch.cat([others_BM, torch.zeros_like(others_BM)])
            others_BM[num:, self._sketched] = others.inputs[:, self._sketched]
        products_RB = int8_row_products(rows.inputs, others_BM).double()
        if len(others_BM) > num:
            products_RB = products_RB[:, :num].add(products_RB[:, num:], alpha=self._weight - 1)
        return self._centred(products_RB, rows.means_B, others.means_B)

    def _centred(
        self, centred_RB: torch.Tensor, means_R: torch.Tensor, means_B: torch.Tensor
    ) -> torch.Tensor:
        centred_RB -= means_R[:, None]
        centred_RB -= means_B
        centred_RB += self._mean_square
        return centred_RB.div_(self._strength)

    def variances(self, vectors: Vectors) -> torch.Tensor:
        """See RidgeBase."""
        squares_BM = vectors.inputs.to(torch.int32).square()
        squares_B = squares_BM.sum(dim=1).double()
        if len(self._sketched) and self._weight != 1:
            squares_B.add_(squares_BM[:, self._sketched].sum(dim=1), alpha=self._weight - 1)
        centred_B = squares_B - 2 * vectors.means_B + self._mean_square
        return centred_B / self._strength
