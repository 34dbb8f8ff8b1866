"""Settings of a consolidation."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from everlearn.errors import ConfigError
from everlearn.types import Json

__all__ = ["ConsolidationConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsolidationConfig:
    """Settings of ``TrunkTuning``; the defaults were chosen on exams, see docs/decisions/0007.

    Attributes:
        epochs: Passes over the examples, at most.
        patience: Stop after so many epochs without a better exam.
        rank: Of the adapters; their scaling is 1.
        learning_rate: Peak, of adapters and heads; rises linearly over ``warmup`` of the steps, then
            falls to zero.
        batch_size: Texts of a step.
        max_length: Tokens of a text that a step sees.
        crop_from: Longer texts are tuned on a random window of their first ``crop_from`` tokens, every
            other time; the exam sees their beginning.
        token_dropout: Share of the tokens that are left out of a text, anew each epoch.
        label_smoothing: Of the cross-entropy.
        scale: Cosines are multiplied by it to be logits.
        lower_layers_weight: Of all lower coded layers' losses together, the last layer's being 1.
        weight_decay: Of adapters.
        warmup: Share of the steps.
        max_examples: Examples that are tuned on at most, those whose ids have the smallest hashes; bounds
            time and memory.
        seed: Of everything that is random.
    """

    epochs: int = 6
    patience: int = 2
    rank: int = 16
    learning_rate: float = 1e-3
    batch_size: int = 32
    max_length: int = 128
    crop_from: int = 256
    token_dropout: float = 0.1
    label_smoothing: float = 0.1
    scale: float = 16.0
    lower_layers_weight: float = 1.0
    weight_decay: float = 0.01
    warmup: float = 0.1
    max_examples: int = 100_000
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "patience", "rank", "batch_size", "max_examples"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: {getattr(self, name)} is below 1")
        if self.max_length < 3:
            raise ConfigError(f"max_length: {self.max_length} is below 3")
        for name in ("learning_rate", "scale"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"{name}: {getattr(self, name)} is not above 0")
        for name in ("token_dropout", "label_smoothing", "warmup"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name}: {getattr(self, name)} is not a share from 0 to below 1")
        for name in ("lower_layers_weight", "weight_decay", "seed"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name}: {getattr(self, name)} is below 0")

    def to_json(self) -> dict[str, Json]:
        """All fields."""
        return asdict(self)
