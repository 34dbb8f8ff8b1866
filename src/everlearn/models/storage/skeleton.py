"""A model's structure by itself: with weights put into it, or as another one on the same weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch

from everlearn.errors import ModelError

__all__ = ["all_weights", "assembled", "structural_copy"]


def all_weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers by dotted name: all that a structure needs, also what checkpoints leave out."""
    found: dict[str, torch.Tensor] = {
        name: parameter.detach() for name, parameter in model.named_parameters(remove_duplicate=False)
    }
    found |= dict(model.named_buffers(remove_duplicate=False))
    return found


def assembled(build: Callable[[], Any], weights: Mapping[str, torch.Tensor], name: str) -> Any:
    """A model made of its structure and ready weights, in evaluation mode and without gradients.

    Args:
        build: Makes the model as its class does; it is called where tensors take no memory.
        weights: By dotted name, as of ``all_weights``; used as they are.
        name: The model's, for messages.

    Raises:
        ModelError: Weights are missing, left over, of another shape, or the model keeps tensors that are
            neither parameters nor buffers.
    """
    with torch.device("meta"):
        model = build()
    wanted = all_weights(model)
    if differing := sorted(wanted.keys() ^ weights.keys()):
        raise ModelError(f"the shared weights of {name} are of another structure: {differing[0]} differs")
    made: dict[tuple[int, torch.Size], torch.nn.Parameter] = {}  # tied weights are one parameter
    for module_name, module in model.named_modules(remove_duplicate=False):
        prefix = f"{module_name}." if module_name else ""
        for own, parameter in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            tensor = weights[prefix + own]
            if tensor.shape != parameter.shape:
                raise ModelError(f"the shared weights of {name} are of another shape: {prefix + own}")
            if own in module._parameters:
                fresh = torch.nn.Parameter(tensor, requires_grad=False)
                module._parameters[own] = made.setdefault((tensor.data_ptr(), tensor.shape), fresh)
            else:
                module._buffers[own] = tensor
        kept = [key for key, value in vars(module).items() if isinstance(value, torch.Tensor)]
        if any(vars(module)[key].is_meta for key in kept):
            raise ModelError(f"{name} cannot be shared: {prefix}{kept[0]} is neither parameter nor buffer")
    return model.eval()


def structural_copy(model: torch.nn.Module) -> Any:
    """A copy of a model's structure that has the very same parameters and buffers.

    What is added to one (adapters, say) the other has not; what is trained of the weights themselves is
    trained for all of them.
    """
    same: dict[int, Any] = {id(parameter): parameter for parameter in model.parameters()}
    same |= {id(buffer): buffer for buffer in model.buffers()}
    return copy.deepcopy(model, same)
