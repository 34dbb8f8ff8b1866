"""How many processor threads a process uses."""

from __future__ import annotations

import os

import torch

__all__ = ["use_threads"]


def use_threads(num_threads: int | None) -> None:
    """Bound the threads of torch and of the tokenizer; None leaves their defaults.

    Call it before the first text is tokenized: the tokenizer reads its bound once.
    """
    if num_threads is not None:
        torch.set_num_threads(num_threads)
        os.environ["RAYON_NUM_THREADS"] = str(num_threads)
