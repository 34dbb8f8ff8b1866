"""Exact products of small-integer matrices, the same to the bit on every device.

``int8 x int8`` with 32-bit sums is what newer processors and GPUs do fastest, but not every build
does it exactly (some kernels saturate on older processors), and processors without instructions for
it take up to a hundred times as long as for float32. So it is tried once, on extreme values, against
the clock; where it is missing, inexact or slower, float32 products over short sums take its place:
they are exact as long as every partial sum stays below 2**24.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import torch

__all__ = ["Int8Factor", "int8_product", "int8_row_products"]

_LARGEST = 127
# float32 has all integers below it: sums that stay there are not rounded.
_EXACT_FLOAT32 = 1 << 24
# 127 * 127 * 1024 < 2**24: so many terms are exact, whatever they are.
_EXACT_FLOAT32_TERMS = 1024
# Of so many rows or columns at most it is asked whether they are small enough for longer sums.
_FEW = 64
# As float32 so many rows stay in the processor's cache, even with thousands of columns.
_ROWS_AT_ONCE = 64


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
    if left.shape[1] == 1:
        # torch 2.13 leaves the result of _int_mm unwritten there, on processors with instructions for it.
        return left.to(torch.int32) * right.to(torch.int32)
    if _is_native_best(left.device.type):
        return _native(left, right)
    return _by_float32(left, right)


def int8_row_products(rows: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """``rows @ others.T`` exactly, where many rows meet others that are few, or as many.

    Args:
        rows: int8 (R, K), entries in -127…127.
        others: int8 (B, K), likewise.

    Returns:
        int32 (R, B).
    """
    if not len(rows) or not len(others) or _is_native_best(rows.device.type):
        return int8_product(rows, others.T)
    found = torch.empty(len(rows), len(others), dtype=torch.int32, device=rows.device)
    terms = _exact_terms(others)
    others = others.float()
    at_once = _ROWS_AT_ONCE if len(others) <= _FEW else len(rows)
    with _full_precision():
        for start in range(0, len(rows), at_once):
            block = rows[start : start + at_once].float()
            total = found[start : start + at_once].zero_()
            for k in range(0, block.shape[1], terms):
                total += (others[:, k : k + terms] @ block[:, k : k + terms].T).T.to(torch.int32)
    return found


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
    terms = _exact_terms(left)
    if left.shape[1] <= terms:
        with _full_precision():
            return (left.float() @ right.float()).to(torch.int32)
    total = torch.zeros(left.shape[0], right.shape[1], dtype=torch.int32, device=left.device)
    with _full_precision():
        for start in range(0, left.shape[1], terms):
            stop = start + terms
            total += (left[:, start:stop].float() @ right[start:stop].float()).to(torch.int32)
    return total


def _exact_terms(rows: torch.Tensor) -> int:
    """How many terms of products with these rows, int8, float32 adds without rounding."""
    if rows.shape[1] > _EXACT_FLOAT32_TERMS and 0 < len(rows) <= _FEW:
        # The other factors are 127 at most.
        largest = _LARGEST * int(rows.to(torch.int32).abs_().sum(dim=1).max())
        if largest < _EXACT_FLOAT32:
            return rows.shape[1]
    return _EXACT_FLOAT32_TERMS


@contextmanager
def _full_precision() -> Iterator[None]:
    """Without which an application may have factors rounded to 16 bits."""
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)


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
