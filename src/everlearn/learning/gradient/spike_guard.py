"""A guard against loss spikes: steps whose loss lies far above the usual are left out."""

from __future__ import annotations

import math
from collections.abc import Mapping

from everlearn.errors import StateError
from everlearn.learning.gradient.stability import StabilityConfig
from everlearn.types import Json

__all__ = ["SpikeGuard"]


class SpikeGuard:
    """Knows the usual loss of a step and refuses steps far above it.

    A refused loss does not enter the mean with its full height, but at the limit, so that a stream whose loss
    rises for good is refused for some steps only and then taken for what it is.

    Args:
        config: Its settings.

    Example:
        >>> guard = SpikeGuard(StabilityConfig(spike_deviations=4.0, spike_warmup_steps=3))
        >>> [guard.refuse(loss) for loss in (3.0, 3.1, 2.9, 3.0)]
        [None, None, None, None]
        >>> guard.refuse(9.0)
        'loss spike: 9.000 nats, where 3.000 ± 0.071 are usual'
    """

    def __init__(self, config: StabilityConfig) -> None:
        self.config = config
        self._count = 0
        self._mean = 0.0
        self._variance = 0.0

    def refuse(self, loss: float) -> str | None:
        """Take in the loss of a step; returns why the step should be left out, or None."""
        if self.config.spike_deviations is None:
            return None
        deviation = math.sqrt(self._variance)
        limit = self._mean + self.config.spike_deviations * max(deviation, 0.01 * abs(self._mean))
        is_spike = self._count >= self.config.spike_warmup_steps and loss > limit
        self._take(min(loss, limit) if is_spike else loss)
        if not is_spike:
            return None
        return f"loss spike: {loss:.3f} nats, where {self._mean_before:.3f} ± {deviation:.3f} are usual"

    def _take(self, loss: float) -> None:
        self._mean_before = self._mean
        self._count += 1
        # Plain averages while there are few, so that the first losses do not weigh too much.
        share = max(1.0 - self.config.spike_decay, 1.0 / self._count)
        difference = loss - self._mean
        self._mean += share * difference
        self._variance = (1.0 - share) * (self._variance + share * difference * difference)

    def state(self) -> dict[str, Json]:
        """JSON to go on from."""
        return {"count": self._count, "mean": self._mean, "variance": self._variance}

    def restore(self, state: Mapping[str, Json]) -> None:
        """Replace the state. Raises StateError where it is damaged."""
        try:
            self._count = int(state["count"])
            self._mean, self._variance = float(state["mean"]), float(state["variance"])
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"the saved guard against loss spikes is damaged: {error!r}") from error
