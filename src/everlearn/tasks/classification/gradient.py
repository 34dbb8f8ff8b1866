"""The learner of a run that trains a classifier by gradient steps."""

from __future__ import annotations

from typing import Any

from everlearn.learning.gradient import GradientConfig, GradientLearner, StabilityConfig
from everlearn.methods.registry import create_method
from everlearn.models.encoder.load import load_trunk
from everlearn.settings import RunConfig
from everlearn.tasks.classification.label_limit import MOST_LABELS
from everlearn.tasks.optimization import method_settings, optimization_settings, stability_config
from everlearn.tasks.records import LearnerRecord

__all__ = ["KIND", "gradient_learner", "gradient_methods", "gradient_record"]

KIND = "gradient"


def gradient_record(config: RunConfig) -> LearnerRecord:
    """What it takes to build the learner of a new run."""
    settings = optimization_settings(config) | {"max_length": config.model.max_length}
    learner = {"learner": GradientConfig(**settings).to_json(), "methods": gradient_methods(config)}
    stability = stability_config(config)
    # Records of runs without it have no entry, and need none.
    more = {} if stability == StabilityConfig() else {"stability": stability.to_json()}
    return LearnerRecord(kind=KIND, config=learner | more)


def gradient_methods(config: RunConfig) -> dict[str, dict[str, Any]]:
    """The continual-learning methods that the settings ask for."""
    return method_settings(config, tokens_replayed=config.model.max_length)


def gradient_learner(config: RunConfig, record: LearnerRecord, model_name: str) -> GradientLearner:
    """The learner of a record, in its first state."""
    methods = [create_method(name, values) for name, values in record.config["methods"].items()]
    # Weights that were rounded once stay rounded; the configuration says what products run in.
    trunk = load_trunk(model_name, dtype="float32", device=config.model.device)
    stability = StabilityConfig.from_json(record.config.get("stability", {}))
    gradient = GradientConfig.from_json(record.config["learner"])
    learner = GradientLearner.for_text(trunk, gradient, methods, stability=stability)
    learner.max_classes = MOST_LABELS  # the configuration is part of the state
    return learner
