"""Gradient checkpointing that keeps the carried context: layers are computed again in the backward pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

__all__ = ["checkpoint_layers"]


def checkpoint_layers(layers: nn.ModuleList) -> None:
    """Let every layer keep its input only (Chen et al. 2016, arXiv:1604.06174), in place.

    transformers' own switch drops the cache that a model is given, and with it what a lane carries. What a
    layer is given that it changes (a cache of states) may have a method ``again``, a context within which it
    is as it was at first; the layer is computed again within it.
    """
    for layer in layers:
        layer_class: Any = type(layer)
        layer.__class__ = _checkpointed(layer_class)


@cache
def _checkpointed(layer_class: Any) -> Any:
    # A class of its own, not a ``forward`` of the instance: a copy of the model must run its own layers.
    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return layer_class.forward(self, *args, **kwargs)
        runs = 0

        def run(*args: Any, **kwargs: Any) -> Any:
            nonlocal runs
            runs += 1
            with ExitStack() as stack:
                for changeable in _changeable((*args, *kwargs.values())) if runs > 1 else ():
                    stack.enter_context(changeable.again())
                return layer_class.forward(self, *args, **kwargs)

        return checkpoint(run, *args, use_reentrant=False, **kwargs)

    return type(f"Checkpointed{layer_class.__name__}", (layer_class,), {"forward": forward})


def _changeable(arguments: Iterable[Any]) -> Iterator[Any]:
    for argument in arguments:
        if isinstance(argument, list | tuple):
            yield from _changeable(argument)
        elif hasattr(argument, "again"):
            yield argument
