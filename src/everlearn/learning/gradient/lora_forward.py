"""A forward pass of peft's LoRA layers without conversions in between.

peft converts a layer's input to the precision of its adapter (float32, to be trained well), computes the
update, scales it and adds it: seven passes over activations, on which a small model spends as much time as
on matrix products. Under autocast the conversion is undone at once. Here the update is one product and one
product with addition, and so are its gradients.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
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
        down, up = self.lora_A[name].weight, self.lora_B[name].weight
        device_type = x.device.type
        if torch.is_autocast_enabled(device_type):
            x = x.to(torch.get_autocast_dtype(device_type))
        elif down.dtype != x.dtype:
            return linear_class.forward(self, x)  # type: ignore[no-any-return]
        apply: Any = _LoraLinear.apply
        base = self.base_layer
        result: Tensor = apply(x, base.weight, base.bias, down, up, self.scaling[name])
        return result

    return type("DirectLoraLinear", (linear_class,), {"forward": forward})


class _LoraLinear(torch.autograd.Function):
    """x Wᵀ + b + s · (x Aᵀ) Bᵀ in the precision of x, as few operations as there are products.

    One node of the graph in place of ten: on a GPU a small model's step takes as long as its operations are
    many. Gradients of A and B are in their own precision; W and b are frozen.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scaling: float
    ) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        ctx.dtypes = (down.dtype, up.dtype)
        down, up = down.to(x.dtype), up.to(x.dtype)
        inner = rows @ down.T
        result = functional.linear(rows, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))
        result.addmm_(inner, up.T, alpha=scaling)
        ctx.save_for_backward(rows, inner, weight, down, up)
        ctx.scaling, ctx.shape = scaling, x.shape
        # No view for autograd, as a model may go on with it in place.
        unview: Any = torch.ops.aten._unsafe_view
        return unview(result, (*x.shape[:-1], result.shape[-1]))  # type: ignore[no-any-return]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        rows, inner, weight, down, up = ctx.saved_tensors
        needs_x, _, _, needs_down, needs_up, _ = ctx.needs_input_grad
        gradient = gradient.reshape(-1, gradient.shape[-1])
        zero = gradient.new_zeros(())
        inner_gradient = torch.addmm(zero, gradient, up, beta=0, alpha=ctx.scaling)
        x_gradient = down_gradient = up_gradient = None
        if needs_down:
            down_gradient = (inner_gradient.T @ rows).to(ctx.dtypes[0])
        if needs_up:
            up_gradient = torch.addmm(zero, gradient.T, inner, beta=0, alpha=ctx.scaling).to(ctx.dtypes[1])
        if needs_x:
            x_gradient = (gradient @ weight.to(gradient.dtype)).addmm_(inner_gradient, down).view(ctx.shape)
        return x_gradient, None, None, down_gradient, up_gradient, None
