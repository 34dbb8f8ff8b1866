"""The naive way to a smaller model: keep every so manyth layer, and leave the others out."""

from __future__ import annotations

import copy
from typing import Any

import torch

from everlearn.models.tying.structure import Tying, layer_stack

__all__ = ["with_fewer_layers"]


def with_fewer_layers(model: Any, kept: int) -> tuple[Any, list[int]]:
    """A copy with the last layer of each group of neighbours, and the depths in the original that they end.

    Args:
        model: Stays as it is.
        kept: Layers of the copy.
    """
    groups = Tying.even(len(layer_stack(model)), kept, 0)
    lasts = [groups.members(group)[-1] for group in range(kept)]
    made: Any = copy.deepcopy(model)
    stack = layer_stack(made)
    parent, _, own = next(name for name, module in made.named_modules() if module is stack).rpartition(".")
    layers = torch.nn.ModuleList(stack[layer] for layer in lasts)
    for place, layer in enumerate(layers):
        for part in layer.modules():
            if "layer_idx" in vars(part):  # by which a cache is found
                vars(part)["layer_idx"] = place
    setattr(made.get_submodule(parent), own, layers)
    made.config.num_hidden_layers = kept
    return made, [layer + 1 for layer in lasts]
