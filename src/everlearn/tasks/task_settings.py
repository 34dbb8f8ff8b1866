"""The defaults that depend on a run's task."""

from __future__ import annotations

from typing import Any

from everlearn.config import RunConfig

__all__ = ["task_defaults"]

_GRADIENT_BATCH_SIZE = 32
_LANGUAGE_BATCH_SIZE = 4
"""A piece of a document may be 16 KB long, and a batch is not interrupted."""


def task_defaults(config: RunConfig) -> dict[str, Any]:
    """Defaults of a new run that depend on its task and learner, by dotted path."""
    defaults: dict[str, Any] = {"model.name": config.model_name}
    if config.task != "classify" or config.learner.kind == "gradient":
        defaults["stream.batch_size"] = _GRADIENT_BATCH_SIZE
    if config.task != "classify":
        # A weight changes every loss a little; two hundredths are what a new subject may cost the old ones.
        defaults["guard.tolerance"] = 0.02
    if config.task == "lm":
        defaults["stream.batch_size"] = _LANGUAGE_BATCH_SIZE
        # Documents take longer to read than the labels of texts to predict.
        defaults |= {"guard.every": 1_000, "guard.recent": 100, "guard.long_term": 200}
    return defaults
