"""Settings of a consolidation."""

from __future__ import annotations

from pydantic import Field

from everlearn.settings.consolidation import ConsolidationSettings
from everlearn.settings.learner_config import LearnerConfig

__all__ = ["ConsolidationConfig"]


class ConsolidationConfig(ConsolidationSettings, LearnerConfig):
    """Settings of ``TrunkTuning``; the defaults were chosen on exams, see docs/decisions/0007."""

    patience: int = Field(default=2, ge=1)
    """Stop after so many epochs without a better exam."""
    crop_from: int = 256
    """Longer texts are tuned on a random window of their first ``crop_from`` tokens, every other time; the
    exam sees their beginning."""
    token_dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Share of the tokens that are left out of a text, anew each epoch."""
    label_smoothing: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Of the cross-entropy."""
    scale: float = Field(default=16.0, gt=0.0)
    """Cosines are multiplied by it to be logits."""
    lower_layers_weight: float = Field(default=1.0, ge=0.0)
    """Of all lower coded layers' losses together, the last layer's being 1."""
    weight_decay: float = Field(default=0.01, ge=0.0)
    """Of adapters."""
    warmup: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Share of the steps in which the rate of adapters and heads rises; then it falls to zero."""
