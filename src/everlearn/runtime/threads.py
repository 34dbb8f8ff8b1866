"""How many processor threads a process uses."""

from __future__ import annotations

import os

import torch

from everlearn.errors import ConfigError

__all__ = ["use_threads"]

_MOST_THREADS = 1_024


def use_threads(num_threads: int | None) -> None:
    """Bound the threads of torch and of the tokenizer; None leaves their defaults.

    Call it before the first text is tokenized: the tokenizer reads its bound once.

    Raises:
        ConfigError: No such number of threads can be used.
    """
    if num_threads is not None:
        if not 1 <= num_threads <= _MOST_THREADS:
            raise ConfigError(f"threads must be from 1 to {_MOST_THREADS:,}, not {num_threads}")
        torch.set_num_threads(num_threads)
        os.environ["RAYON_NUM_THREADS"] = str(num_threads)
