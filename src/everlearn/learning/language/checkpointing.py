"""Gradient checkpointing that keeps the carried context: layers are computed again in the backward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

__all__ = ["checkpoint_layers"]


def checkpoint_layers(layers: nn.ModuleList) -> None:
    """Let every layer keep its input only (Chen et al. 2016, arXiv:1604.06174), in place.

    transformers' own switch drops the cache that a model is given, and with it what a lane carries.
    """
    for layer in layers:
        layer.forward = _checkpointed(layer.forward)


def _checkpointed(forward: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    return run
