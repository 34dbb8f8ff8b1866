"""A linear head that gets rows for new labels without losing what the optimizer knows.

C: labels, H: features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

__all__ = ["GrowingHead"]


class GrowingHead(nn.Module):
    """logits = features · weightᵀ + bias, with a row of ``weight`` for each label.

    New rows are zero: a new label starts with logit 0, and the rows of the others stay as they are to
    the bit (their logits may round otherwise, as the matrix product has another width). The
    parameters stay the same objects when they grow, so optimizers and methods that hold them go on.

    Args:
        feature_size: H.
        dtype: Of weight and bias.
        device: Of weight and bias.
    """

    def __init__(
        self,
        feature_size: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__()
        self.feature_size = feature_size
        self.weight = nn.Parameter(torch.zeros(0, feature_size, dtype=dtype, device=device))
        self.bias = nn.Parameter(torch.zeros(0, dtype=dtype, device=device))

    @property
    def num_labels(self) -> int:
        """C."""
        return self.weight.shape[0]

    def forward(self, features_BH: Tensor) -> Tensor:
        """Logits (B, C)."""
        return functional.linear(features_BH.to(self.weight.dtype), self.weight, self.bias)

    def grow(self, num_labels: int, optimizer: Optimizer | None = None) -> None:
        """Lengthen weight, bias and the optimizer's moments to ``num_labels`` rows, in place.

        Per-parameter moments (momentum, squared gradients) get zero rows; what counts steps stays.
        """
        assert num_labels >= self.num_labels, (num_labels, self.num_labels)
        for parameter in (self.weight, self.bias):
            old_shape = parameter.shape
            parameter.data = _with_rows(parameter.data, num_labels)
            parameter.grad = None
            if optimizer is not None and parameter in optimizer.state:
                moments = optimizer.state[parameter]
                for name, value in moments.items():
                    if isinstance(value, Tensor) and value.shape == old_shape:
                        moments[name] = _with_rows(value, num_labels)

    def resize(self, num_labels: int) -> None:
        """Make ``num_labels`` zero rows, in place; for a state that is loaded next."""
        for parameter in (self.weight, self.bias):
            parameter.data = parameter.data.new_zeros((num_labels, *parameter.shape[1:]))
            parameter.grad = None


def _with_rows(tensor: Tensor, num_rows: int) -> Tensor:
    grown = tensor.new_zeros((num_rows, *tensor.shape[1:]))
    grown[: tensor.shape[0]] = tensor
    return grown
