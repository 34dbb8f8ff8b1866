"""Which layers of a network can take a low-rank adapter, found by looking at the layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["adaptable_names", "are_transposed"]


def adaptable_names(network: nn.Module, names: Sequence[str]) -> list[str]:
    """Those of the named modules that are linear layers and that peft takes, in their order.

    Linear are ``nn.Linear`` and the ``Conv1D`` of GPT-2, and what is made from them as long as it gives one
    tensor (some routers give several). peft refuses layers of some models by name, as their kernels read the
    weights past the layer.
    """
    from peft import LoraConfig
    from peft.tuners.lora import LoraModel

    chosen = [name for name in names if _is_linear(network.get_submodule(name))]
    check: Any = getattr(LoraModel, "_check_target_module_compatiblity", None)
    refused = set()
    for last in {name.rpartition(".")[2] for name in chosen} if check is not None else ():
        try:
            check(None, LoraConfig(), network, last)
        except ValueError:
            refused.add(last)
    return [name for name in chosen if name.rpartition(".")[2] not in refused]


def are_transposed(network: nn.Module, names: Sequence[str]) -> bool:
    """Whether all modules that the names are endings of keep their weight as (in, out)."""
    from transformers.pytorch_utils import Conv1D

    found = [
        module
        for place, module in network.named_modules()
        if any(place == name or place.endswith(f".{name}") for name in names)
    ]
    return bool(found) and all(isinstance(module, Conv1D) for module in found)


def _is_linear(module: nn.Module) -> bool:
    from transformers.pytorch_utils import Conv1D

    if type(module).forward in (nn.Linear.forward, Conv1D.forward):
        return True
    if not isinstance(module, nn.Linear | Conv1D):
        return False
    weight: Any = module.weight
    size_in, size_out = weight.shape if isinstance(module, Conv1D) else reversed(weight.shape)
    try:
        with torch.no_grad():
            output: Any = module(weight.new_zeros(1, size_in))
    except (RuntimeError, TypeError, ValueError):
        return False
    return isinstance(output, Tensor) and output.shape == (1, size_out)
