"""What keeps a long run of steps from going wrong: averaged weights, and a guard against loss spikes."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from everlearn.errors import ConfigError, StateError
from everlearn.types import Json

__all__ = ["AveragedWeights", "SpikeGuard", "StabilityConfig"]


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


class AveragedWeights:
    """An exponential moving average of weights: w̄ ← d·w̄ + (1 − d)·w (Polyak and Juditsky 1992).

    d is smaller in the first steps, (1 + t) / (10 + t), so that the start is soon forgotten.

    Args:
        parameters: The trained parameters by name; kept, not copied.
        decay: d; None: nothing is averaged.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float | None) -> None:
        self._parameters = parameters
        self._decay = decay
        self._average: dict[str, Tensor] = {}
        if decay is not None:
            self._average = {name: weight.detach().clone() for name, weight in parameters.items()}

    @torch.no_grad()
    def update(self, num_steps: int, names: Collection[str] | None = None) -> None:
        """Take in the weights after a step.

        Args:
            num_steps: Steps made, this one included.
            names: Of the weights that were trained; the averages of the others stay. None: all.
        """
        if self._decay is None:
            return
        decay = min(self._decay, (1 + num_steps) / (10 + num_steps))
        chosen = list(self._parameters if names is None else names)
        weights = [self._parameters[name].detach() for name in chosen]
        torch._foreach_lerp_([self._average[name] for name in chosen], weights, 1.0 - decay)

    def include(self, names: Collection[str]) -> None:
        """Average these parameters too, from their present values on."""
        if self._decay is not None:
            self._average |= {name: self._parameters[name].detach().clone() for name in names}

    def leave_out(self, names: Collection[str]) -> None:
        """Drop the averages of these parameters."""
        for name in names:
            self._average.pop(name, None)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model predicts with the average within the block; it must not be trained there."""
        if self._decay is None:
            yield
            return
        with torch.no_grad():
            kept = {name: weight.detach().clone() for name, weight in self._parameters.items()}
            for name, weight in self._parameters.items():
                weight.copy_(self._average[name])
        try:
            yield
        finally:
            with torch.no_grad():
                for name, weight in self._parameters.items():
                    weight.copy_(kept[name])

    def tensors(self) -> dict[str, Tensor]:
        """Copies of the averages by name; empty where nothing is averaged."""
        return {name: tensor.to("cpu", copy=True) for name, tensor in self._average.items()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Replace the averages. Raises StateError where names or shapes do not fit."""
        if tensors.keys() != self._average.keys() or any(
            tensors[name].shape != tensor.shape for name, tensor in self._average.items()
        ):
            raise StateError("the saved averages of the weights are of another model")
        for name, tensor in self._average.items():
            tensor.copy_(tensors[name])
