"""Exact products of small-integer matrices, the same to the bit on every device.

``int8 x int8`` with 32-bit sums is what newer processors and GPUs do fastest, but not every build
does it exactly (some kernels saturate on older processors), and processors without instructions for
it take up to a hundred times as long as for float32. So it is tried once, on extreme values, against
the clock; where it is missing, inexact or slower, float32 products over short sums take its place:
they are exact as long as every partial sum stays below 2**24.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache

import torch

__all__ = ["Int8Factor", "int8_product"]

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
    if _is_native_best(left.device.type):
        return _native(left, right)
    return _by_float32(left, right)


class Int8Factor:
    """A right factor of many products, made ready once for the way this machine takes.

    Args:
        right: int8 (K, B), entries in -127…127; not to be changed.
    """

    def __init__(self, right: torch.Tensor) -> None:
        self._ready = right if _is_native_best(right.device.type) else right.float()
        self.num_columns = right.shape[1]

    def product(self, left: torch.Tensor) -> torch.Tensor:
        """``left @ right`` exactly: int8 (A, K) to int32 (A, B)."""
        if self._ready.dtype == torch.int8:
            return int8_product(left, self._ready)
        return _by_float32(left, self._ready)


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
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")  # or factors may be rounded to 16 bits
    try:
        for start in range(0, left.shape[1], _EXACT_FLOAT32_TERMS):
            stop = start + _EXACT_FLOAT32_TERMS
            total += (left[:, start:stop].float() @ right[start:stop].float()).to(torch.int32)
    finally:
        torch.set_float32_matmul_precision(precision)
    return total


@cache
def _is_native_best(device_type: str) -> bool:
    """Whether the device's own int8 product is exact, and faster than float32's where both are."""
    generator = torch.Generator().manual_seed(0)
    left = torch.randint(-127, 128, (40, 520), generator=generator, dtype=torch.int8)
    right = torch.randint(-127, 128, (520, 512), generator=generator, dtype=torch.int8)
    left[:8] = 127
    right[:, :8] = 127
    right[:, 8:16] = -127
    exact = left.to(torch.int64) @ right.to(torch.int64)
    left, right = left.to(device_type), right.to(device_type)
    try:
        tried = _native(left, right)
    except (RuntimeError, AttributeError):
        # This build has no such kernel for the device; the float path is exact too.
        return False
    if not torch.equal(tried.cpu().to(torch.int64), exact):
        return False
    # Either is exact, so that a wrong guess on a busy machine costs time alone.
    return device_type != "cpu" or _seconds(_native, left, right) < _seconds(_by_float32, left, right)


def _seconds(
    product: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], left: torch.Tensor, right: torch.Tensor
) -> float:
    """The shorter of two tries."""
    taken = []
    for _ in range(2):
        start = time.perf_counter()
        product(left, right)
        taken.append(time.perf_counter() - start)
    return min(taken)


def _up(size: int) -> int:
    return (size + 7) // 8 * 8


def _padded(matrix: torch.Tensor, num_rows: int, num_columns: int) -> torch.Tensor:
    return torch.nn.functional.pad(
        matrix, (0, num_columns - matrix.shape[1], 0, num_rows - matrix.shape[0])
    ).contiguous()
