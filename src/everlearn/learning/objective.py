"""What a gradient step minimizes. Learner and methods call the same function.

B: examples of the batch, C: labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from everlearn.learning.batch import Batch

__all__ = ["ClassificationObjective", "ClassificationResult", "ForwardResult", "Objective"]


class ForwardResult(Protocol):
    """What one forward pass gives."""

    @property
    def loss(self) -> Tensor:
        """Mean loss of the batch in nats, a scalar with its graph."""
        ...

    @property
    def logits(self) -> Tensor:
        """For classification (B, C); for language models (T, V), a row for each predicted token."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class ClassificationResult:
    """Loss and logits (B, C) of a classifier."""

    loss: Tensor
    logits: Tensor


class Objective(Protocol):
    """One forward pass with its loss."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Known labels in the order of the logits; none where tokens are predicted."""
        ...

    def forward(self, model: nn.Module, batch: Batch) -> ForwardResult:
        """Run the model on a batch; every target must be known to the objective."""
        ...


class ClassificationObjective:
    """Mean cross-entropy over all labels known so far.

    Keeps which column of the logits stands for which label: columns are given in order of
    appearance and never change. The model maps a sequence of input arrays to logits (B, C).
    """

    def __init__(self) -> None:
        self._columns: dict[str, int] = {}

    @property
    def labels(self) -> tuple[str, ...]:
        """Known labels in the order of their columns."""
        return tuple(self._columns)

    def new_labels(self, targets: Iterable[str]) -> tuple[str, ...]:
        """Targets that are not known yet, in order of appearance; changes nothing."""
        return tuple(dict.fromkeys(target for target in targets if target not in self._columns))

    def add_labels(self, labels: Sequence[str]) -> None:
        """Give the next columns to new labels."""
        for label in labels:
            assert label not in self._columns, label
            self._columns[label] = len(self._columns)

    def set_labels(self, labels: Sequence[str]) -> None:
        """Forget all columns and give new ones in this order."""
        self._columns = {label: column for column, label in enumerate(labels)}

    def forward(self, model: nn.Module, batch: Batch) -> ForwardResult:
        """Cross-entropy of the model's logits, averaged over fresh and added examples alike."""
        logits_BC: Tensor = model(batch.inputs)
        columns = [self._columns[example.target] for example in batch.examples]
        targets_B = torch.tensor(columns, dtype=torch.int64, device=logits_BC.device)
        return ClassificationResult(functional.cross_entropy(logits_BC, targets_B), logits_BC)
