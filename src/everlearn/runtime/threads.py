"""How many processor threads a process uses."""

from __future__ import annotations

import os

import torch

from everlearn.errors import ConfigError
from everlearn.processors import usable_processors

__all__ = ["use_threads"]

_MOST_THREADS = 1_024
_OF_THE_USER = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def use_threads(num_threads: int | None) -> None:
    """Bound the threads of torch and of the tokenizer.

    None: torch's default, but no more than the process may use by its affinity and by the quota of its
    control groups. What the user's environment says of threads holds.

    Call it before the first text is tokenized: the tokenizer reads its bound once.

    Raises:
        ConfigError: No such number of threads can be used.
    """
    if num_threads is None:
        usable = usable_processors()
        if usable < torch.get_num_threads() and not any(name in os.environ for name in _OF_THE_USER):
            torch.set_num_threads(usable)
            os.environ.setdefault("RAYON_NUM_THREADS", str(usable))
        return
    if not 1 <= num_threads <= _MOST_THREADS:
        raise ConfigError(f"threads must be from 1 to {_MOST_THREADS:,}, not {num_threads}")
    torch.set_num_threads(num_threads)
    os.environ["RAYON_NUM_THREADS"] = str(num_threads)
