"""Which settings have an effect beside the others."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from everlearn.errors import ConfigError
from everlearn.settings.run_config import DECLARED, RunConfig, flatten_settings
from everlearn.settings.section import LABEL_TASKS

__all__ = ["check_effects", "effective_values"]

_KIND = "learner.kind"
# One option of the command line sets both, as each learner has its own.
_TOGETHER = frozenset({"learner.closed_form.max_classes", "learner.gradient.max_classes"})


def check_effects(config: RunConfig, given: Collection[str], *, keeps_texts: bool = False) -> None:
    """Refuse settings that have no effect beside the others.

    Args:
        config: Everything that holds.
        given: Dotted paths of what was given explicitly.
        keeps_texts: The run holds texts already, whatever becomes of new ones.

    Raises:
        ConfigError: Names the setting, and the one that stands in its way.
    """
    asked, values = set(given), effective_values(config)
    if keeps_texts:
        values["run.keep_text"] = True
    if asked >= _TOGETHER:
        kind = "closed_form" if values[_KIND] == "closed-form" else "gradient"
        asked -= _TOGETHER - {f"learner.{kind}.max_classes"}
    if config.task == "multilabel" and config.learner.kind == "gradient":
        raise ConfigError(
            "learner.kind is 'gradient', which learns one label an example; "
            "with task = 'multilabel' leave it out"
        )
    if config.task not in LABEL_TASKS and _KIND in asked:
        if config.learner.kind == "closed-form":
            raise ConfigError(
                f"learner.kind is 'closed-form', which learns labels; with task = {config.task!r} everything "
                "is trained by gradients: leave it out"
            )
        asked.remove(_KIND)  # it says what is so anyway
    for path in sorted(asked):
        for condition in DECLARED[path].needs:
            if not condition.holds(values):
                raise ConfigError(
                    f"{path} has no effect where {condition.path} = {values[condition.path]!r}; leave it out"
                )
    if config.task != "classify" and config.stream.order == "by-class":
        raise ConfigError(f"stream.order is 'by-class', but with task = {config.task!r} there are no classes")


def effective_values(config: RunConfig) -> dict[str, Any]:
    """All settings by dotted path; those that others look at with what a run makes of them if not given."""
    values = dict(flatten_settings(config.to_mapping()))
    if config.task not in LABEL_TASKS:
        values[_KIND] = "gradient"
    if config.learner.gradient.trainable is None:
        values["learner.gradient.trainable"] = "lora" if config.task == "lm" else "all"
    if config.run.keep_text is None:
        values["run.keep_text"] = values[_KIND] == "gradient"
    return values
