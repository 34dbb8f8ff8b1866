"""The classifiers that a trunk is tuned by: one cosine classifier a coded layer.

They are scaffolding: what stays is the trunk, below which the closed-form head is folded anew.

Shapes: N texts, B texts of a batch, K coded layers, C classes, D hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from everlearn.learning.consolidation.config import ConsolidationConfig

__all__ = ["CosineHeads"]


class CosineHeads(nn.Module):
    """Logits are scaled cosines to class prototypes, which start at the class means of codes.

    Args:
        means_CKD: Mean unit vector of each class.
        mean_KD: Mean unit vector of all texts, by which vectors are centred.
        config: Settings.
    """

    mean_KD: Tensor
    weights_K: Tensor

    def __init__(self, means_CKD: Tensor, mean_KD: Tensor, config: ConsolidationConfig) -> None:
        super().__init__()
        self._scale, self._smoothing = config.scale, config.label_smoothing
        num_layers = len(mean_KD)
        prototypes_CKD = functional.normalize(means_CKD - mean_KD, dim=-1)
        self.prototypes_KCD = nn.Parameter(prototypes_CKD.transpose(0, 1).contiguous())
        self.bias_KC = nn.Parameter(torch.zeros(num_layers, len(means_CKD)))
        weights_K = torch.full((num_layers,), config.lower_layers_weight / max(1, num_layers - 1))
        weights_K[0] = 1.0  # codes begin with the last layer
        self.register_buffer("mean_KD", mean_KD)
        self.register_buffer("weights_K", weights_K / weights_K.sum())

    def forward(self, units: Sequence[Tensor]) -> list[Tensor]:
        """Logits (B, C) of each layer from unit vectors (B, D) of each."""
        return [
            self._scale
            * functional.normalize(unit - self.mean_KD[k], dim=-1)
            @ functional.normalize(self.prototypes_KCD[k], dim=-1).T
            + self.bias_KC[k]
            for k, unit in enumerate(units)
        ]

    def mean(self, logits: Sequence[Tensor]) -> Tensor:
        """Weighted mean of the layers' logits (B, C)."""
        return torch.einsum("k,kbc->bc", self.weights_K, torch.stack(list(logits)))

    def loss(self, logits: Sequence[Tensor], targets_B: Tensor) -> Tensor:
        """Weighted mean of the layers' cross-entropies."""
        losses = [
            functional.cross_entropy(each, targets_B, label_smoothing=self._smoothing) for each in logits
        ]
        return (self.weights_K * torch.stack(losses)).sum()
