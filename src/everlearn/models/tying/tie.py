"""A model with tied layers, begun from one without; what each layer loses is kept in a low rank."""

from __future__ import annotations

import copy
from typing import Any, Literal

import torch

from everlearn.models.tying.shared_linear import SharedLinear
from everlearn.models.tying.structure import Tying, impose, layer_stack

__all__ = ["StartName", "layer_bytes", "tied"]

StartName = Literal["mean", "first", "middle"]


def tied(model: Any, tying: Tying, start: StartName = "mean") -> Any:
    """A copy of a model, in float32, whose layers are tied.

    A group's weight W is begun from its layers' weights; of what layer l loses, W_l - W, its own part is the
    best approximation of the rank (Eckart and Young 1936). Biases and norms stay each layer's own.

    Args:
        model: Stays as it is.
        tying: Which layers share weights.
        start: W is the mean of the group's weights, or those of its first or middle layer.

    Raises:
        ModelError: The model's layers cannot be tied.
    """
    made = copy.deepcopy(model).float()
    stack = layer_stack(made)
    weights = [
        {
            name: part.weight.detach().clone()
            for name, part in layer.named_modules()
            if isinstance(part, torch.nn.Linear)
        }
        for layer in stack
    ]
    impose(made, tying)
    tying.note_in(made.config)
    with torch.no_grad():
        for group in range(tying.num_unique):
            members = tying.members(group)
            for name in weights[members[0]]:
                own = torch.stack([weights[layer][name] for layer in members])
                shared = own.mean(dim=0) if start == "mean" else own[0 if start == "first" else len(own) // 2]
                for layer, weight in zip(members, own, strict=True):
                    linear = stack[layer].get_submodule(name)
                    assert isinstance(linear, SharedLinear)
                    linear.weight.copy_(shared)  # one and the same for all members
                    _keep_rest(linear, weight - shared)
    return made


def layer_bytes(model: Any) -> int:
    """Memory that the layers' parameters take; shared ones count once."""
    return sum(parameter.nbytes for parameter in set(layer_stack(model).parameters()))


def _keep_rest(linear: SharedLinear, rest: torch.Tensor) -> None:
    if linear.residual_in is None or linear.residual_out is None:
        return
    left, values, right = torch.linalg.svd(rest, full_matrices=False)
    rank = min(len(linear.residual_in), len(values))
    roots = values[:rank].sqrt()
    linear.residual_out.zero_()[:, :rank] = left[:, :rank] * roots
    linear.residual_in.zero_()[:rank] = roots[:, None] * right[:rank]
