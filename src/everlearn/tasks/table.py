"""The table of tasks. A new one is a line here."""

from __future__ import annotations

from everlearn.errors import ConfigError
from everlearn.settings import RunConfig
from everlearn.tasks.classification.multilabel.task import MultiLabel
from everlearn.tasks.classification.task import Classification
from everlearn.tasks.language.task import Language
from everlearn.tasks.task import Task
from everlearn.tasks.translation.task import Translation

__all__ = ["TASKS", "task_begun_by", "task_of"]

TASKS: dict[str, Task] = {
    task.name: task for task in (Classification(), MultiLabel(), Language(), Translation())
}
"""Each task by its name in settings."""


def task_begun_by(spec: str, config: RunConfig) -> str:
    """The name of the task of a new run for which none was named, by how its stream begins.

    Args:
        spec: The stream, as given.
        config: The settings that were given, and defaults.
    """
    if config.learner.kind != RunConfig().learner.kind:  # another learner has its own task
        return config.task
    begun = (task.name for task in TASKS.values() if task.is_begun_by(spec, config.stream))
    return next(begun, config.task)


def task_of(config: RunConfig) -> Task:
    """The task of a run.

    Raises:
        ConfigError: There is none of this name.
    """
    task = TASKS.get(config.task)
    if task is None:
        *others, last = map(repr, TASKS)
        raise ConfigError(f"settings: task = {config.task!r}: input should be {', '.join(others)} or {last}")
    return task
