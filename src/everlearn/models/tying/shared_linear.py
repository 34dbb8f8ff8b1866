"""A linear layer whose weight other layers have, too, with a low-rank part and a bias of its own."""

from __future__ import annotations

import torch
from torch.nn import functional

__all__ = ["SharedLinear"]


class SharedLinear(torch.nn.Linear):
    """y = (W + B A) x + b, where W is shared.

    W is the very parameter of the other layers, so it is in memory once. As in relaxed recursive transformers
    (Bae et al. 2024, https://arxiv.org/abs/2410.20672) B A is what this layer loses by sharing.

    Args:
        linear: The layer that it takes the place of; its bias is kept.
        weight: W (out, in).
        rank: Of B A; 0: there is none.
    """

    residual_in: torch.nn.Parameter | None
    residual_out: torch.nn.Parameter | None

    def __init__(self, linear: torch.nn.Linear, weight: torch.nn.Parameter, rank: int) -> None:
        torch.nn.Module.__init__(self)  # nothing is made that would only be thrown away
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight = weight
        self.register_parameter("bias", linear.bias)
        self.register_parameter("residual_in", None)
        self.register_parameter("residual_out", None)
        if rank:
            self.residual_in = torch.nn.Parameter(weight.new_zeros(rank, self.in_features))
            self.residual_out = torch.nn.Parameter(weight.new_zeros(self.out_features, rank))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(…, in) to (…, out)."""
        outputs = functional.linear(inputs, self.weight, self.bias)
        if self.residual_in is None or self.residual_out is None:
            return outputs
        return outputs + functional.linear(functional.linear(inputs, self.residual_in), self.residual_out)
