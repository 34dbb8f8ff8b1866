"""Where a trunk runs and in which number format, decided by what the processor at hand does well."""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path
from typing import Literal

import torch

from everlearn.errors import ConfigError

__all__ = ["DeviceName", "DtypeName", "choose_device", "choose_dtype", "cpu_has_fast_bfloat16"]

DtypeName = Literal["auto", "float32", "bfloat16"]
DeviceName = Literal["auto", "cpu", "cuda"]

_FAST_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})


def choose_device(device: str = "auto") -> torch.device:
    """The device a name stands for: "auto" is CUDA where there is a usable one, else the CPU.

    Raises:
        ConfigError: An unknown name, or "cuda" on a machine without it.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = device.split(":")[0]
    if name not in ("cpu", "cuda"):
        raise ConfigError(f"device: {device!r} is not one of 'auto', 'cpu', 'cuda'")
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device: 'cuda' was asked for, but torch finds no CUDA device; use 'cpu'")
    return torch.device(device)


def choose_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """The number format a name stands for; "auto" is bfloat16 where the device is good at it, else float32.

    Raises:
        ConfigError: An unknown name.
    """
    if dtype == "float32":
        return torch.float32
    if dtype == "bfloat16":
        return torch.bfloat16
    if dtype != "auto":
        raise ConfigError(f"dtype: {dtype!r} is not one of 'auto', 'float32', 'bfloat16'")
    if device.type == "cuda":
        fast = torch.cuda.get_device_capability(device)[0] >= 8
    else:
        fast = cpu_has_fast_bfloat16()
    return torch.bfloat16 if fast else torch.float32


@cache
def cpu_has_fast_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 matrices faster than float32 ones.

    The processor's flags are asked first; only where they cannot be read are two small products timed
    (some milliseconds, once a process).
    """
    flags = _cpu_flags()
    if flags is not None:
        return not flags.isdisjoint(_FAST_FLAGS)
    return _seconds_of_product(torch.bfloat16) < 0.8 * _seconds_of_product(torch.float32)


def _cpu_flags() -> frozenset[str] | None:
    """Feature flags of the CPU as Linux names them, or None where they cannot be read."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):  # x86 says flags, ARM says Features
            return frozenset(value.split())
    return None


def _seconds_of_product(dtype: torch.dtype) -> float:
    # The least of several runs: other work on the machine only ever adds time.
    left, right = torch.ones(256, 384, dtype=dtype), torch.ones(384, 1536, dtype=dtype)
    seconds = []
    for _ in range(6):
        start = time.perf_counter()
        torch.mm(left, right)
        seconds.append(time.perf_counter() - start)
    return min(seconds)
