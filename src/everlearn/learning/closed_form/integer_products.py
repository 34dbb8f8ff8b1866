"""Exact products of small-integer matrices, the same to the bit on every device.

``int8 x int8`` with 32-bit sums is what processors and GPUs do fastest, but not every build
does it exactly (some kernels saturate on older processors). So it is tried once on extreme
values; where it is missing or inexact, float32 products over short sums take its place: they
are exact as long as every partial sum stays below 2**24.
"""

from __future__ import annotations

from functools import cache

import torch

__all__ = ["int8_product"]

# 127 * 127 * 1024 < 2**24, so float32 adds the products without rounding.
_EXACT_FLOAT32_TERMS = 1024


def int8_product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """``left @ right`` exactly, for int8 matrices with entries in -127…127.

    Args:
        left: int8 (A, K), K at most 2**31 / 127**2 = 133,152.
        right: int8 (K, B).

    Returns:
        int32 (A, B).

    >>> row = torch.full((1, 2), 127, dtype=torch.int8)
    >>> int8_product(row, -row.T).item()
    -32258
    """
    if left.shape[0] == 0 or right.shape[1] == 0 or left.shape[1] == 0:
        return torch.zeros(left.shape[0], right.shape[1], dtype=torch.int32, device=left.device)
    if _has_exact_int8(left.device.type):
        return _native(left, right)
    return _by_float32(left, right)


def _native(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    if left.device.type == "cpu":
        return torch._int_mm(left.contiguous(), right.contiguous())
    # CUDA's kernel wants more than 16 rows and multiples of 8 elsewhere; zeros change no sum.
    num_rows, num_terms = left.shape
    num_columns = right.shape[1]
    padded_left = _padded(left, max(24, _up(num_rows)), _up(num_terms))
    padded_right = _padded(right, _up(num_terms), _up(num_columns))
    return torch._int_mm(padded_left, padded_right)[:num_rows, :num_columns]


def _by_float32(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    total = torch.zeros(left.shape[0], right.shape[1], dtype=torch.int32, device=left.device)
    tf32 = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        for start in range(0, left.shape[1], _EXACT_FLOAT32_TERMS):
            stop = start + _EXACT_FLOAT32_TERMS
            total += (left[:, start:stop].float() @ right[start:stop].float()).to(torch.int32)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = tf32
    return total


@cache
def _has_exact_int8(device_type: str) -> bool:
    generator = torch.Generator().manual_seed(0)
    left = torch.randint(-127, 128, (40, 520), generator=generator, dtype=torch.int8)
    right = torch.randint(-127, 128, (520, 48), generator=generator, dtype=torch.int8)
    left[:8] = 127
    right[:, :8] = 127
    right[:, 8:16] = -127
    exact = left.to(torch.int64) @ right.to(torch.int64)
    try:
        tried = _native(left.to(device_type), right.to(device_type))
    except (RuntimeError, AttributeError):
        # This build has no such kernel for the device; the float path is exact too.
        return False
    return bool(torch.equal(tried.cpu().to(torch.int64), exact))


def _up(size: int) -> int:
    return (size + 7) // 8 * 8


def _padded(matrix: torch.Tensor, num_rows: int, num_columns: int) -> torch.Tensor:
    return torch.nn.functional.pad(
        matrix, (0, num_columns - matrix.shape[1], 0, num_rows - matrix.shape[0])
    ).contiguous()
