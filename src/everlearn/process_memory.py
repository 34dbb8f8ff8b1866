"""The process's memory as the operating system sees it: kept from creeping up in a long stream.

What a program frees, its allocator keeps for later. Over a long stream, freed pieces of many sizes leave
holes between pieces in use, so that large temporary matrices find no room and the process grows although
what it holds does not. What gives memory back concerns glibc; elsewhere it does nothing. And how often
Python looks for garbage in it.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import resource
import sys

__all__ = ["collect_seldom", "give_large_blocks_back", "peak_memory_mb", "return_free_memory"]

_M_MMAP_THRESHOLD = -3  # malloc.h
_LARGE_BYTES = 4 << 20
_NEW_OBJECTS = 10_000
"""That the collector waits for, instead of 700: half a million objects come with an encoder's libraries."""


def collect_seldom() -> None:
    """From now on, Python's garbage collector walks what is there less often, and not when the process ends.

    Libraries make objects that stay: walking them while they are loaded, and several times at the end, takes
    a command that loads an encoder a quarter of its time. As that below, it is for programs to choose.
    """
    gc.set_threshold(_NEW_OBJECTS, *gc.get_threshold()[1:])
    atexit.register(gc.freeze)


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
