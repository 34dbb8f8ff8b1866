"""The table of tasks. A new one is a line here."""

from __future__ import annotations

from everlearn.errors import ConfigError
from everlearn.settings import RunConfig
from everlearn.tasks.classification.task import Classification
from everlearn.tasks.language.task import Language
from everlearn.tasks.task import Task
from everlearn.tasks.translation.task import Translation

__all__ = ["TASKS", "task_of"]

TASKS: dict[str, Task] = {task.name: task for task in (Classification(), Language(), Translation())}
"""Each task by its name in settings."""


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
