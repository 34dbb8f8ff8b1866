"""Ridge regression on one-hot labels, solved from the sums; leave-one-out in closed form.

With Φ centred and one-hot Y: W = (Φ'Φ + λI)⁻¹ Φ'Y. For a learned example the leverage
h = φ'(Φ'Φ + λI)⁻¹φ + 1/n gives what the solution *without* it would have said of it:
y - (y - ŷ) / (1 - h) (Allen 1974). The Cholesky factor of the leading m x m block of a matrix is
the leading block of its factor, so smaller problems come for free.

Legend: B examples, m features used, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from everlearn.errors import StateError
from everlearn.learning.closed_form.gram_sums import PANEL_ROWS, GramSums
from everlearn.learning.closed_form.shrinkage import FLOAT32_CONDITION, Shrinkage
from everlearn.process_memory import return_free_memory

__all__ = ["CentredGram", "RidgeSolution"]

_BLOCK = 256
_MANY_FEATURES = 2048


class CentredGram:
    """The leading m x m block of the centred Gram matrix, scaled to unit mean square norm.

    Args:
        sums: The exact sums.
        num_features: m.
        class_order: Rows of the class sums in the order wanted.
        every: A class that all examples are of; None: each is of one class.
    """

    def __init__(
        self, sums: GramSums, num_features: int, class_order: list[int], every: int | None = None
    ) -> None:
        if num_features > _MANY_FEATURES:
            return_free_memory()  # a matrix of all features, and then its factor: memory peaks here
        self.num_features = num_features
        self.num_examples = sums.num_examples if every is None else int(sums.class_counts_C[every])
        self.sketched = sums.sketched
        panels = sums.panels(num_features)
        index = torch.tensor(class_order, dtype=torch.int64)
        class_sums = sums.class_sums()[:, :num_features]
        device = class_sums.device
        total = (class_sums.sum(dim=0) if every is None else class_sums[every]).double()
        self.mean_m = total / self.num_examples
        counts = sums.class_counts_C[index].double().to(device)
        self.prior_C = counts / self.num_examples
        square_sums = torch.cat([p.diagonal(offset=k * PANEL_ROWS) for k, p in enumerate(panels)])
        trace = float((square_sums[:num_features].double() - total * self.mean_m).sum())
        # Mean squared norm of a centred example; 1 where all examples are equal (or there is one).
        self.scale = trace / self.num_examples if trace > 0 else 1.0
        self._blocks = []
        for k, panel in enumerate(panels):
            start = k * PANEL_ROWS
            block = panel[: num_features - start, : min(start + PANEL_ROWS, num_features)].double()
            rows = self.mean_m[start : start + len(block)]
            block.addr_(rows, total[: block.shape[1]], alpha=-1.0)
            self._blocks.append(block.div_(self.scale).float())
        targets = class_sums[index.to(device)].double()
        targets.addr_(counts, self.mean_m, alpha=-1.0)
        self._targets_mC = (targets / self.scale).T.contiguous()

    def solve(self, strength: float, sketch_weight: float = 1.0) -> RidgeSolution:
        """Solve with some ``Shrinkage``."""
        penalties_m = Shrinkage(strength, sketch_weight).penalties(self.sketched, self.num_features)
        condition = self.num_examples / float(penalties_m.min())
        dtype = torch.float32 if condition <= FLOAT32_CONDITION else torch.float64
        while True:
            factor = self._matrix(penalties_m, dtype)
            if _factorize(factor):
                break
            if dtype is torch.float64:
                raise StateError(
                    "the statistics are not positive definite: they were damaged, or examples were "
                    "forgotten that had not been learned; restore an earlier state"
                )
            dtype = torch.float64
        weights_mC = torch.cholesky_solve(self._targets_mC.to(dtype), factor)
        return RidgeSolution(
            # In rows, as a saved solution comes back: products sum in another order over columns.
            weights_mC=weights_mC.float().contiguous(),
            factor_mm=factor,
            mean_m=self.mean_m.float(),
            prior_C=self.prior_C.float(),
            root_scale=self.scale**0.5,
            num_examples=self.num_examples,
        )

    def _matrix(self, penalties_m: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        m = self.num_features
        matrix = torch.empty(m, m, dtype=dtype, device=self.mean_m.device)  # the lower half is enough
        for k, block in enumerate(self._blocks):
            start = k * PANEL_ROWS
            matrix[start : start + len(block), : block.shape[1]] = block
        matrix.diagonal().add_(penalties_m.to(dtype))
        return matrix


@dataclass(frozen=True, slots=True)
class RidgeSolution:
    """Weights and the factor they came from; derived from the sums, never state.

    Attributes:
        weights_mC: float32 (m, C), for centred features as they are.
        factor_mm: Lower Cholesky factor (m, m), or its leading block.
        mean_m: Mean feature vector.
        prior_C: Share of each class.
        root_scale: Square root of the mean squared norm of a centred example.
        num_examples: n at the time of solving.
    """

    weights_mC: torch.Tensor
    factor_mm: torch.Tensor
    mean_m: torch.Tensor
    prior_C: torch.Tensor
    root_scale: float
    num_examples: int

    @property
    def num_features(self) -> int:
        """m, the leading features that the solution uses."""
        return len(self.mean_m)

    @property
    def num_bytes(self) -> int:
        """How much memory weights and factor take."""
        return self.weights_mC.nbytes + self.factor_mm.nbytes

    def trimmed(self, num_features: int) -> RidgeSolution:
        """The same solution with the factor's leading block only; leverages need no more."""
        if len(self.factor_mm) <= num_features:
            return self
        return replace(self, factor_mm=self.factor_mm[:num_features, :num_features].clone())

    def scores(self, features_BM: torch.Tensor) -> torch.Tensor:
        """float32 scores (B, C) of integer features (B, M): estimates of the one-hot label."""
        centred = features_BM[:, : self.num_features].float() - self.mean_m
        scores: torch.Tensor = centred @ self.weights_mC
        return scores.add_(self.prior_C)

    def leverages(self, features_BM: torch.Tensor, num_features: int) -> torch.Tensor:
        """φ'(G + λI)⁻¹φ + 1/n (B,) over the leading ``num_features`` features."""
        m = min(num_features, len(self.factor_mm))
        centred = (features_BM[:, :m].float() - self.mean_m[:m]) / self.root_scale
        factor = self.factor_mm[:m, :m]
        half = torch.linalg.solve_triangular(factor, centred.T.to(factor.dtype), upper=False)
        leverages: torch.Tensor = half.square().sum(dim=0) + 1.0 / self.num_examples
        return leverages.float()

    def scores_without_self(self, features_BM: torch.Tensor, classes_B: torch.Tensor) -> torch.Tensor:
        """Leave-one-out scores (B, C) of learned examples of the given classes."""
        left_in = 1 - self.leverages(features_BM, self.num_features).clamp(max=1 - 1e-6)
        # target - (target - score) / (1 - leverage), in one array: with many classes it is a large one.
        scores = self.scores(features_BM)
        rows = torch.arange(len(classes_B), device=scores.device)
        own_B = 1 - (1 - scores[rows, classes_B]) / left_in
        scores.div_(left_in[:, None])
        scores[rows, classes_B] = own_B
        return scores


def _factorize(matrix: torch.Tensor) -> bool:
    """Replace a symmetric matrix, of which the lower half is read, by its Cholesky factor.

    By blocks of columns, so that nearly all the work is matrix products: on few cores a third faster than one
    call of the library, and without a second matrix where memory peaks. False: not positive definite.
    """
    size = len(matrix)
    block = size if matrix.is_cuda else _BLOCK
    for start in range(0, size, block):
        stop = min(start + block, size)
        panel = matrix[start:, start:stop]
        if start:
            panel.addmm_(matrix[start:, :start], matrix[start:stop, :start].T, alpha=-1.0)
        corner, failed = torch.linalg.cholesky_ex(panel[: stop - start])
        if int(failed):
            return False
        panel[: stop - start] = corner
        below = panel[stop - start :]
        if len(below):
            below.copy_(torch.linalg.solve_triangular(corner, below.T, upper=False).T)
    matrix.tril_()
    return True
