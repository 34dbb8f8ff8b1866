"""Rounding float features to the int8 values of a code."""

from __future__ import annotations

import math

import torch

__all__ = ["STEPS_PER_DEVIATION", "round_unit_vectors"]

STEPS_PER_DEVIATION = 20
"""int8 steps a standard deviation of a unit vector's component: ±127 then reaches 6.35 deviations."""


def round_unit_vectors(vectors: torch.Tensor) -> torch.Tensor:
    """Scale vectors to unit norm and round: ``clip(rint(20 √d · v / |v|), -127, 127)``.

    A unit vector of d components has a root mean square of 1/√d, so the same 20 steps a deviation serve
    every d. Where nothing is clipped a component errs by at most half a step: 1 / (40 √d).

    Args:
        vectors: float32 or float64 (..., d); a zero vector stays zero.

    Returns:
        int8 (..., d).
    """
    size = vectors.shape[-1]
    norms = vectors.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(vectors.dtype).tiny)
    scaled = vectors * (STEPS_PER_DEVIATION * math.sqrt(size) / norms)
    codes: torch.Tensor = scaled.round().clamp(-127, 127).to(torch.int8)
    return codes
