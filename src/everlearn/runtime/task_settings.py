"""Which settings a task has a use for, and those that it has other defaults for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from everlearn.config import RunConfig, TaskName, flatten_settings
from everlearn.errors import ConfigError

__all__ = ["check_useful", "task_defaults"]

_GRADIENT_BATCH_SIZE = 32
_LANGUAGE_BATCH_SIZE = 4
"""A piece of a document may be 16 KB long, and a batch is not interrupted."""

_OF_DOCUMENTS = ("stream.documents", "stream.piece_bytes", "learner.language.", "learner.vocabulary.")
_OF_PAIRS = ("learner.translation.",)
_OF_TEXTS = ("learner.gradient.average_decay", "learner.gradient.spike_deviations")
_OF_LABELS = (
    *("model.max_length", "model.windows", "model.layers", "model.batch_invariant"),
    *("learner.memory_budget", "learner.closed_form.", "learner.gradient.max_classes"),
    *("learner.gradient.head_learning_rate", "guard.suspicious", "guard.confidence", "guard.leverage"),
    *("guard.weight", "guard.surprise", "guard.readmit"),
)
_USELESS: Mapping[TaskName, Sequence[str]] = {
    "classify": (*_OF_DOCUMENTS, *_OF_PAIRS, *_OF_TEXTS),
    "lm": (*_OF_LABELS, *_OF_PAIRS, "learner.gradient.replayed", "stream.delay"),
    "seq2seq": (*_OF_LABELS, *_OF_DOCUMENTS),
}


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


def check_useful(config: RunConfig, options: Mapping[str, Any], in_file: Mapping[str, Any]) -> None:
    """Refuse settings that the task has no use for: somebody believes that they do something.

    Args:
        config: Everything that holds.
        options: What was given for this time, by dotted path.
        in_file: What a settings file gives; it may spell defaults out.

    Raises:
        ConfigError: Names the setting and the task.
    """
    defaults = dict(flatten_settings(RunConfig().to_mapping()))
    given = {*options, *(path for path, value in in_file.items() if value != defaults.get(path))}
    useless = _USELESS[config.task]
    for path in sorted(given):
        if any(path == one or (one.endswith(".") and path.startswith(one)) for one in useless):
            raise ConfigError(f"{path} has no effect where task = {config.task!r}; leave it out")
    if config.task == "classify":
        return
    if config.learner.kind == "closed-form" and "learner.kind" in given:
        raise ConfigError(
            f"learner.kind is 'closed-form', which learns labels; with task = {config.task!r} everything is "
            "trained by gradients: leave it out"
        )
    if config.stream.order == "by-class":
        raise ConfigError(f"stream.order is 'by-class', but with task = {config.task!r} there are no classes")
