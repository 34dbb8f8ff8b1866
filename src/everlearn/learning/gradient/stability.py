"""Settings of averaged weights and of the guard against loss spikes."""

from __future__ import annotations

from dataclasses import dataclass

from everlearn.errors import ConfigError

__all__ = ["StabilityConfig"]


@dataclass(frozen=True, kw_only=True)
class StabilityConfig:
    """Settings of averaging and of the guard against spikes.

    Attributes:
        average_decay: Decay a step of the exponential moving average of the trained weights that predictions
            are made with; None: predict with the newest weights.
        spike_deviations: A step whose loss lies more than so many standard deviations above the recent
            mean is left out; None: no guard.
        spike_warmup_steps: Steps before the guard refuses anything.
        spike_decay: Decay a step of the recent mean and variance.

    Raises:
        ConfigError: Names the field and the value.
    """

    average_decay: float | None = None
    spike_deviations: float | None = None
    spike_warmup_steps: int = 20
    spike_decay: float = 0.98

    def __post_init__(self) -> None:
        for name in ("average_decay", "spike_decay"):
            value = getattr(self, name)
            if value is not None and not 0.0 < value < 1.0:
                raise ConfigError(f"{name} must be in (0, 1), not {value!r}")
        if self.spike_deviations is not None and not self.spike_deviations > 0:
            raise ConfigError(f"spike_deviations must be None or positive, not {self.spike_deviations!r}")
        if self.spike_warmup_steps < 2:
            raise ConfigError(f"spike_warmup_steps must be at least 2, not {self.spike_warmup_steps!r}")
