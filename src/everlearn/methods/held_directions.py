"""Input directions that a matrix must go on treating as it does.

R, D: rows and columns of the matrix, r: rank of an adapter, K: held directions, F: columns of a factor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from everlearn.errors import StateError

__all__ = [
    "Directions",
    "HeldDirections",
    "adapter_factor",
    "extend_directions",
    "leading_directions",
    "range_of",
]

# Shares of the energy below this are rounding errors of float32.
_NEGLIGIBLE = 1e-8
# As a share of the largest singular value of images in float32.
_NEGLIGIBLE_IMAGE = 1e-6
_KEYS = ("basis", "shares", "images")


@dataclass(frozen=True, slots=True, eq=False)
class Directions:
    """Orthonormal rows, and how much there was in each.

    Attributes:
        basis_KD: The rows.
        shares_K: Shares of the energy, summed over the boundaries at which they were looked at.
    """

    basis_KD: Tensor
    shares_K: Tensor

    @classmethod
    def none(cls, num_columns: int) -> Directions:
        """No direction."""
        return cls(torch.zeros(0, num_columns), torch.zeros(0))

    def __len__(self) -> int:
        return len(self.basis_KD)


@dataclass(frozen=True, slots=True, eq=False)
class HeldDirections:
    """What a matrix W (R, D) maps some directions to.

    Attributes:
        directions: The directions.
        images_RK: W · basisᵀ at the time they were taken.
    """

    directions: Directions
    images_RK: Tensor

    @classmethod
    def of(cls, matrix_RD: Tensor, directions: Directions) -> HeldDirections:
        """Directions with what the matrix makes of them now."""
        # Laid out as it will be after a restore: products round by the layout.
        basis_KD = directions.basis_KD.to(matrix_RD).contiguous()
        images_RK = (matrix_RD @ basis_KD.T).contiguous()
        return cls(Directions(basis_KD, directions.shares_K.to(matrix_RD)), images_RK)

    def to(self, device: torch.device) -> HeldDirections:
        """The same on another device; itself where it is there."""
        if self.images_RK.device == device:
            return self
        basis, shares, images = (self.tensors()[key].to(device) for key in _KEYS)
        return HeldDirections(Directions(basis, shares), images)

    def deviation(self, matrix_RD: Tensor) -> Tensor:
        """How far the images have moved, (R, K)."""
        return matrix_RD @ self.directions.basis_KD.T - self.images_RK

    def enforced(self, matrix_RD: Tensor) -> Tensor:
        """The nearest matrix that maps the directions to their images."""
        return matrix_RD - self.deviation(matrix_RD) @ self.directions.basis_KD

    def without(self, gradient_RD: Tensor) -> Tensor:
        """The part of a gradient that leaves the images alone."""
        basis_KD = self.directions.basis_KD
        return gradient_RD - (gradient_RD @ basis_KD.T) @ basis_KD

    def tensors(self) -> dict[str, Tensor]:
        """Copies on the CPU, for a state."""
        present = (self.directions.basis_KD, self.directions.shares_K, self.images_RK)
        return {key: tensor.to("cpu", copy=True) for key, tensor in zip(_KEYS, present, strict=True)}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> HeldDirections:
        """Invert ``tensors``. Raises StateError where they do not fit each other."""
        if tensors.keys() != set(_KEYS):
            raise StateError(f"held directions must be saved as {list(_KEYS)}, not {sorted(tensors)}")
        basis, shares, images = (tensors[key].clone() for key in _KEYS)
        if basis.ndim != 2 or images.ndim != 2 or not len(basis) == len(shares) == images.shape[1]:
            shapes = {key: tuple(tensors[key].shape) for key in _KEYS}
            raise StateError(f"saved directions do not fit each other: {shapes}")
        return cls(Directions(basis, shares), images)


def extend_directions(
    held: Directions, factor_DF: Tensor, total: Tensor, *, energy: float, max_rank: int
) -> Directions:
    """Add as few directions as hold, with those held before, a share of the energy (Saha, Garg and Roy,
    "Gradient projection memory for continual learning", ICLR 2021, arXiv:2103.09762).

    Args:
        held: Directions that are held already.
        factor_DF: X, where the energy in a direction q is ‖Xᵀq‖².
        total: All energy; at least ‖X‖².
        energy: The share to be held, in (0, 1]. What X does not tell of cannot be.
        max_rank: Most directions. Where they are more, those with the smallest shares go.

    Returns:
        float64.
    """
    basis_KD = _orthonormal(held.basis_KD.to(factor_DF))
    shares_K = held.shares_K.to(factor_DF)
    if not total > 0:
        return Directions(basis_KD, shares_K)
    inside_KF = basis_KD @ factor_DF
    inside_K = inside_KF.square().sum(1) / total
    left_DF, values, _ = torch.linalg.svd(factor_DF - basis_KD.T @ inside_KF, full_matrices=False)
    new_F = values.square() / total
    reached = inside_K.sum() + torch.cat([new_F.new_zeros(1), torch.cumsum(new_F, 0)])
    missing = int((reached < energy - 1e-12).sum())
    num_new = min(missing, int((new_F > _NEGLIGIBLE).sum()))
    basis_KD = torch.cat([basis_KD, left_DF.T[:num_new]])
    shares_K = torch.cat([shares_K + inside_K, new_F[:num_new]])
    if len(basis_KD) > max_rank:
        # One by one: a rotation would mix what was seen at different times.
        kept = torch.topk(shares_K, max_rank).indices.sort().values
        basis_KD, shares_K = basis_KD[kept], shares_K[kept]
    return Directions(_orthonormal(basis_KD), shares_K)


def adapter_factor(down_rD: Tensor, up_Rr: Tensor) -> Tensor:
    """X (D, r), float64, with ‖Xᵀq‖ = ‖up · down · q‖ for every direction q."""
    core_rr = torch.linalg.qr(up_Rr.double()).R
    factor: Tensor = down_rD.double().T @ core_rr.T
    return factor


def leading_directions(matrix_RD: Tensor, *, energy: float, max_rank: int) -> tuple[Directions, Directions]:
    """The leading singular directions of a matrix, on its input (K, D) and its output side (K, R).

    As few as hold the share ``energy`` of its squared Frobenius norm, at most ``max_rank``.
    """
    left_RF, values, right_FD = torch.linalg.svd(matrix_RD, full_matrices=False)
    shares_F = values.square() / values.square().sum()
    rank = min(1 + int((torch.cumsum(shares_F, 0) < energy - 1e-12).sum()), max_rank, len(values))
    if not values[0] > 0:
        rank = 0
    return (
        Directions(right_FD[:rank].contiguous(), shares_F[:rank]),
        Directions(left_RF.T[:rank].contiguous(), shares_F[:rank]),
    )


def range_of(matrix_RK: Tensor) -> Directions:
    """Orthonormal rows that span the columns of a matrix, float64."""
    left_RF, values, _ = torch.linalg.svd(matrix_RK.double(), full_matrices=False)
    rank = int((values > _NEGLIGIBLE_IMAGE * values[0]).sum()) if len(values) and values[0] > 0 else 0
    return Directions(left_RF.T[:rank], values[:rank].square() / values.square().sum())


def _orthonormal(rows_KD: Tensor) -> Tensor:
    """The same directions, with what rounding has cost in orthogonality repaired."""
    basis_DK: Tensor = torch.linalg.qr(rows_KD.T).Q
    return basis_DK.T.contiguous()
