"""The process's memory as the operating system sees it: kept from creeping up in a long stream.

What a program frees, its allocator keeps for later. Over a long stream, freed pieces of many sizes leave
holes between pieces in use, so that large temporary matrices find no room and the process grows although
what it holds does not. What gives memory back concerns glibc; elsewhere it does nothing.
"""

from __future__ import annotations

import ctypes
import resource
import sys

__all__ = ["give_large_blocks_back", "peak_memory_mb", "return_free_memory"]

_M_MMAP_THRESHOLD = -3  # malloc.h
_LARGE_BYTES = 4 << 20


def give_large_blocks_back() -> None:
    """From now on, blocks of 4 MiB and more go back to the operating system when they are freed.

    By default glibc raises that limit up to 32 MiB as such blocks are freed. A setting of the whole
    process, so for programs to choose and not for libraries.
    """
    libc = _glibc()
    if libc is not None:
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


def return_free_memory() -> None:
    """Return what is free inside the process to the operating system: a few milliseconds."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)
    pyarrow = sys.modules.get("pyarrow")  # its pool is its own; where it was never loaded there is none
    if pyarrow is not None:
        pyarrow.default_memory_pool().release_unused()


def peak_memory_mb() -> float:
    """The most memory that this process has had resident, in 10⁶ bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in kibibytes, macOS in bytes.
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "malloc_trim") and hasattr(libc, "mallopt") else None
