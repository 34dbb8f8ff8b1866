"""A forward pass of peft's LoRA layers without conversions in between.

peft converts a layer's input to the precision of its adapter (float32, to be trained well), computes the
update, scales it and adds it: seven passes over activations, on which a small model spends as much time as
on matrix products. Under autocast the conversion is undone at once. Here the update is one product and one
product with addition.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["use_direct_lora_forward"]


def use_direct_lora_forward(network: nn.Module) -> int:
    """Let the plain LoRA layers of a network compute directly, in place; returns how many.

    Layers with dropout, variants (DoRA …), biases of their own or several adapters keep peft's way, and the
    others go back to it whenever their adapters are merged or turned off.
    """
    from peft.tuners.lora.layer import Linear

    count = 0
    for module in network.modules():
        if type(module) is Linear and _is_plain(module):
            module.__class__ = _direct(Linear)
            count += 1
    return count


def _is_plain(layer: Any) -> bool:
    if len(layer.active_adapters) != 1 or layer.lora_variant or type(layer.base_layer) is not nn.Linear:
        return False
    name = layer.active_adapters[0]
    return isinstance(layer.lora_dropout[name], nn.Identity) and layer.lora_B[name].bias is None


@cache
def _direct(linear_class: Any) -> Any:
    # A class of its own, not a ``forward`` of the instance: a copy of the network must run its own layers.
    def forward(self: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if args or kwargs or self.disable_adapters or self.merged or not _is_plain(self):
            return linear_class.forward(self, x, *args, **kwargs)  # type: ignore[no-any-return]
        name = self.active_adapters[0]
        has_other_dtype = self.lora_A[name].weight.dtype != x.dtype
        if has_other_dtype and not torch.is_autocast_enabled(x.device.type):
            return linear_class.forward(self, x)  # type: ignore[no-any-return]
        result: Tensor = self.base_layer(x)
        inner = functional.linear(x, self.lora_A[name].weight)
        up = self.lora_B[name].weight.T * self.scaling[name]
        rows = result.reshape(-1, result.shape[-1])
        added = torch.addmm(rows, inner.reshape(-1, inner.shape[-1]), up)
        return added.view(result.shape)

    return type("DirectLoraLinear", (linear_class,), {"forward": forward})
