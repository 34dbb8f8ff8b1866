"""Input directions that a matrix must go on treating as it does.

R, D: rows and columns of the matrix, r: rank of an adapter, K: held directions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from everlearn.errors import StateError

__all__ = ["HeldDirections", "adapter_directions", "matrix_directions", "range_of"]

# Singular values below this share of the largest are rounding errors of float32 weights.
_NEGLIGIBLE = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class HeldDirections:
    """What a matrix W (R, D) maps some directions to.

    Attributes:
        basis_KD: Orthonormal rows.
        images_RK: W · basisᵀ at the time they were taken.
    """

    basis_KD: Tensor
    images_RK: Tensor

    @classmethod
    def of(cls, matrix_RD: Tensor, basis_KD: Tensor) -> HeldDirections:
        """Directions with what the matrix makes of them now."""
        basis_KD = basis_KD.to(matrix_RD.dtype)
        return cls(basis_KD, matrix_RD @ basis_KD.T)

    def deviation(self, matrix_RD: Tensor) -> Tensor:
        """How far the images have moved, (R, K)."""
        return matrix_RD @ self.basis_KD.T - self.images_RK

    def enforced(self, matrix_RD: Tensor) -> Tensor:
        """The nearest matrix that maps the directions to their images."""
        return matrix_RD - self.deviation(matrix_RD) @ self.basis_KD

    def without(self, gradient_RD: Tensor) -> Tensor:
        """The part of a gradient that leaves the images alone."""
        return gradient_RD - (gradient_RD @ self.basis_KD.T) @ self.basis_KD

    def tensors(self) -> dict[str, Tensor]:
        """Copies on the CPU, for a state."""
        return {
            "basis": self.basis_KD.to("cpu", copy=True),
            "images": self.images_RK.to("cpu", copy=True),
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> HeldDirections:
        """Invert ``tensors``. Raises StateError where they do not fit each other."""
        if tensors.keys() != {"basis", "images"}:
            raise StateError(f"held directions must be saved as basis and images, not {sorted(tensors)}")
        basis, images = tensors["basis"], tensors["images"]
        if basis.ndim != 2 or images.ndim != 2 or images.shape[1] != basis.shape[0]:
            raise StateError(
                f"saved directions {tuple(basis.shape)} and images {tuple(images.shape)} do not fit"
            )
        return cls(basis.clone(), images.clone())


def adapter_directions(
    down_rD: Tensor, up_Rr: Tensor, held_KD: Tensor, *, energy: float, max_rank: int
) -> Tensor:
    """The input directions through which a low-rank update up · down acts, added to those held.

    As few as hold the share ``energy`` of the update's squared Frobenius norm, together with those held
    before. Where they are more than ``max_rank``, those go that the update does least with.

    Args:
        down_rD: The factor that reads the input.
        up_Rr: The factor that writes the output.
        held_KD: Orthonormal directions that are held already; K may be 0.
        energy: In (0, 1].
        max_rank: Most directions.

    Returns:
        Orthonormal rows, float64 (K', D).
    """
    down, up, held = down_rD.double(), up_Rr.double(), _orthonormal(held_KD.double())
    # ‖up · X‖ = ‖core · X‖, and the core is small.
    core_rr = torch.linalg.qr(up).R
    total = (core_rr @ down).square().sum()
    if total == 0:
        return held
    # The SVD of a product with a wide factor, through its QR: r x r instead of R x D.
    rest = down - (down @ held.T) @ held
    basis_Dr, triangle = torch.linalg.qr(rest.T)
    _, values, right = torch.linalg.svd(core_rr @ triangle.T)
    held_energy = (core_rr @ (down @ held.T)).square().sum()
    still_held = held_energy + torch.cumsum(values.square(), 0)
    missing = int((torch.cat([held_energy.reshape(1), still_held]) < energy * total * (1 - 1e-12)).sum())
    is_real = values > _NEGLIGIBLE * total.sqrt()  # and not what rounding left of held ones
    num_new = min(missing, int(is_real.sum()))
    joined = torch.cat([held, right[:num_new] @ basis_Dr.T])
    if len(joined) > max_rank:
        # One by one, not by another SVD: in the span of them all the update has its own rank only, so a
        # rotation would mix what different times have learned, and drop the mixtures.
        energies_K = (core_rr @ (down @ joined.T)).square().sum(0)
        joined = joined[torch.topk(energies_K, max_rank).indices.sort().values]
    return _orthonormal(joined)


def matrix_directions(matrix_RD: Tensor, *, energy: float, max_rank: int) -> tuple[Tensor, Tensor]:
    """The leading singular directions of a matrix, on its input and its output side.

    As few as hold the share ``energy`` of its squared Frobenius norm, at most ``max_rank``.

    Returns:
        Orthonormal rows (K, D) and (K, R), in the precision of the matrix.
    """
    left, values, right = torch.linalg.svd(matrix_RD, full_matrices=False)
    energies = torch.cumsum(values.double().square(), 0)
    if energies[-1] == 0:
        return right[:0], left.T[:0]
    rank = min(1 + int((energies < energy * energies[-1] * (1 - 1e-12)).sum()), max_rank, len(values))
    return right[:rank].contiguous(), left.T[:rank].contiguous()


def range_of(matrix_RK: Tensor) -> Tensor:
    """Orthonormal rows that span the columns of a matrix, float64 (rank, R)."""
    left, values, _ = torch.linalg.svd(matrix_RK.double(), full_matrices=False)
    rank = int((values > _NEGLIGIBLE * values[0]).sum()) if len(values) and values[0] > 0 else 0
    rows: Tensor = left.T[:rank]
    return rows


def _orthonormal(rows_KD: Tensor) -> Tensor:
    """The same directions, with what rounding has cost in orthogonality repaired."""
    basis_DK: Tensor = torch.linalg.qr(rows_KD.T).Q
    return basis_DK.T.contiguous()
