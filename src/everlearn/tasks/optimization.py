"""From settings to what trains by gradients: optimizer, stability, continual-learning methods."""

from __future__ import annotations

from typing import Any

from everlearn.learning.gradient import StabilityConfig
from everlearn.memory.model_example import OVERHEAD_BYTES
from everlearn.methods.replay import ReplayConfig
from everlearn.settings import RunConfig
from everlearn.settings.gradient import OptimizationSettings, StabilitySettings

__all__ = ["method_settings", "optimization_settings", "stability_config"]

_BYTES_OF_A_TOKEN = 4
_BYTES_OF_NAMES = 256


def optimization_settings(config: RunConfig) -> dict[str, Any]:
    """The fields of ``GradientConfig`` that the settings give."""
    given = config.learner.gradient.model_dump(include=set(OptimizationSettings.model_fields))
    settings = {name: value for name, value in given.items() if value is not None}
    if settings.get("max_gradient_norm") == 0:
        settings["max_gradient_norm"] = None
    return settings | {"seed": config.seed, "dtype": config.model.dtype}


def stability_config(config: RunConfig) -> StabilityConfig:
    """Averaged weights and the guard against loss spikes, as settings have them."""
    given = config.learner.gradient.model_dump(include=set(StabilitySettings.model_fields))
    return StabilityConfig(**given)


def method_settings(
    config: RunConfig, *, tokens_replayed: int, replay_share: float | None = None
) -> dict[str, dict[str, Any]]:
    """The continual-learning methods that the settings ask for, in the order of their hooks.

    Args:
        config: The settings.
        tokens_replayed: What an example in the replay memory has at most.
        replay_share: The task's own share of replayed tokens; None: examples are counted.
    """
    gradient = config.learner.gradient
    methods: dict[str, dict[str, Any]] = {}
    if gradient.replay:
        methods["replay"] = {"memory_examples": gradient.replay, "seed": config.seed}
        # Id, target and domain are of usual length.
        needed = gradient.replay * (OVERHEAD_BYTES + _BYTES_OF_NAMES + _BYTES_OF_A_TOKEN * tokens_replayed)
        if needed > ReplayConfig.memory_bytes:  # or fewer examples would be kept than were asked for
            methods["replay"]["memory_bytes"] = needed
        share = replay_share if gradient.replay_share is None else gradient.replay_share
        if share is not None:
            methods["replay"]["replay_share"] = share
        else:
            methods["replay"]["num_replayed"] = gradient.replayed or config.stream.batch_size
    return methods | {name: dict(values) for name, values in gradient.methods.items()}
