"""From an example's code to the integer features of the ridge expert.

Features are the code itself (linear part), its sketch of n-grams included, joined with random ReLU
features of what the trunk made: a seeded int8 projection, ReLU, shift and clamp to 0…127, all in
integers. The parts are interleaved, so that the first m features, for any m, are a fair smaller feature
map: a smaller problem is the leading block of the larger one.

Random features with a ridge on top follow RanPAC (McDonnell et al., NeurIPS 2023).
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch

from everlearn.learning.closed_form.integer_products import Int8Factor

__all__ = ["FeatureMap"]

_NUM_PARTS = 5
_TARGET_STD = 40.0  # of the random features before ReLU; 127 is then a little over three of it
_ENTRY_STD = math.sqrt(4 * (256**2 - 1) / 12) / 4  # of the projection's entries, see _projection
_CODE_STD = 20.0  # of a code's components, by the coder's construction


class FeatureMap:
    """Integer features of codes.

    Args:
        dense_size: D, length of the codes.
        leading_size: Length of the codes' most telling part, which comes first (the last layer's
            code): half of the random features look at it alone, half at all that the trunk made.
        sketch_size: Length of the codes' sketch of n-grams, which comes last.
        num_features: M, number of features.
        seed: Seed of the projection.
        device: Where features are computed.

    Attributes:
        sizes: Maps of the same make the same features of the same codes.
        sketched: Which features are the sketch's (int64, ascending).
        views: Which features are components of the codes' most telling part, unchanged, and which of the
            rest of what the trunk made, if there is a rest (int64 each).
    """

    def __init__(
        self,
        dense_size: int,
        leading_size: int,
        sketch_size: int,
        num_features: int,
        seed: int,
        device: torch.device,
    ) -> None:
        self.sizes = (dense_size, leading_size, sketch_size, num_features, seed, device)
        self.dense_size = dense_size
        self.num_features = num_features
        self._pooled_size = pooled_size = dense_size - sketch_size
        num_linear = min(pooled_size, num_features // 2)
        num_sketched = min(sketch_size, num_features // 5)
        num_random = num_features - num_linear - num_sketched
        self._leading_size = leading_size
        self._of_leading = _shared_projection(leading_size, (num_random + 1) // 2, seed, device)
        self._of_all = _shared_projection(pooled_size, num_random // 2, seed + 1, device)
        sizes = (num_linear, self._of_leading.num_columns, self._of_all.num_columns, num_sketched)
        self._cuts = [[size * k // _NUM_PARTS for k in range(_NUM_PARTS + 1)] for size in sizes]
        self.sketched = self._places(self._cuts[-1], num_sketched, device)
        linear = self._places(self._cuts[0], num_linear, device)
        self.views = tuple(part for part in (linear[:leading_size], linear[leading_size:]) if len(part))

    def _places(self, cuts: list[int], num: int, device: torch.device) -> torch.Tensor:
        """Where the first so many features of a kind are, which is cut so (int64)."""
        places: list[int] = []
        start = 0
        for k in range(_NUM_PARTS):
            for others in self._cuts:
                size = others[k + 1] - others[k]
                if others is cuts:
                    places += range(start, start + size)
                start += size
        return torch.tensor(places[:num], dtype=torch.int64, device=device)

    def __call__(self, codes_BD: torch.Tensor) -> torch.Tensor:
        """int8 codes (B, D) to int8 features (B, M), entries in -127…127."""
        pooled_BP = codes_BD[:, : self._pooled_size]
        kinds = (
            pooled_BP,
            _rectified(codes_BD[:, : self._leading_size], self._of_leading),
            _rectified(pooled_BP, self._of_all),
            codes_BD[:, self._pooled_size :],
        )
        parts = [
            kind[:, cuts[k] : cuts[k + 1]]
            for k in range(_NUM_PARTS)
            for kind, cuts in zip(kinds, self._cuts, strict=True)
        ]
        return torch.cat(parts, dim=1)


def _rectified(codes_BD: torch.Tensor, projection_DR: Int8Factor) -> torch.Tensor:
    """Random ReLU features (B, R) in 0…127."""
    std = _ENTRY_STD * _CODE_STD * math.sqrt(codes_BD.shape[1])
    shift = max(0, round(math.log2(std / _TARGET_STD)))
    projected = projection_DR.product(codes_BD).clamp_(min=0)
    return projected.bitwise_right_shift_(shift).clamp_(max=127).to(torch.int8)


@lru_cache(maxsize=8)
def _shared_projection(num_rows: int, num_columns: int, seed: int, device: torch.device) -> Int8Factor:
    """A process may hold thousands of learners of the same sizes: they share it."""
    return Int8Factor(_projection(num_rows, num_columns, seed).to(device))


def _projection(num_rows: int, num_columns: int, seed: int) -> torch.Tensor:
    """Near-Gaussian int8 matrix (num_rows, num_columns), the same on every machine.

    Each entry is a sum of four random bytes, centred and divided by four. It is drawn from the raw
    64-bit output of PCG64, whose stream numpy guarantees, not from ``normal``, which may change.
    """
    size = num_rows * num_columns
    raw = np.random.PCG64(seed).random_raw((size + 1) // 2).astype("<u8")
    four_bytes = raw.view(np.uint8)[: 4 * size].reshape(size, 4)
    entries = (four_bytes.sum(axis=1, dtype=np.int16) - 510) >> 2
    return torch.from_numpy(np.clip(entries, -127, 127).astype(np.int8).reshape(num_rows, num_columns))
