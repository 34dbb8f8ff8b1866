"""Settings of averaged weights and of the guard against loss spikes."""

from __future__ import annotations

from pydantic import Field

from everlearn.settings.gradient import StabilitySettings
from everlearn.settings.learner_config import LearnerConfig

__all__ = ["StabilityConfig"]


class StabilityConfig(StabilitySettings, LearnerConfig):
    """Settings of averaging and of the guard against spikes."""

    spike_warmup_steps: int = Field(default=20, ge=2)
    """Steps before the guard refuses anything."""
    spike_decay: float = Field(default=0.98, gt=0.0, lt=1.0)
    """Decay a step of the recent mean and variance."""
