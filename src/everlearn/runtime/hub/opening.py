"""A hub's folder: its lock, and the settings that new tenants get."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from everlearn.errors import ConfigError, RunError
from everlearn.journal.durable_files import make_folder, storage_errors, write_json
from everlearn.journal.lock import LOCK_NAME, acquire_lock
from everlearn.runtime.hub.looking import FORMAT, RECORD, known_settings
from everlearn.settings import RunConfig
from everlearn.tasks.table import task_of

__all__ = [
    "budget_bytes",
    "check_max_examples",
    "check_processes",
    "check_tenants_settings",
    "open_folder",
]

_TASKS = frozenset({"classify", "multilabel"})
_MOST_PROCESSES = 256
_MOST_MB = 1e12


def open_folder(path: Path, given: Mapping[str, Any]) -> tuple[dict[str, Any], IO[str]]:
    """Lock a hub's folder, which is made if it is not there.

    Args:
        path: The folder.
        given: Settings, by dotted path.

    Returns:
        The settings that the hub was made with, and the lock; closing it lets go of the folder.

    Raises:
        ConfigError, RunError, StateError, StorageError: See ``Hub.open``.
    """
    record = path / RECORD
    check_tenants_settings(given)
    if given.get("model.adapter") is not None:
        raise ConfigError("model.adapter: an adapter is a tenant's own; give it with the tenant")
    with ExitStack() as opened:
        with storage_errors(path):
            try:
                make_folder(path)
            except FileExistsError:
                raise RunError(f"{path} exists and is not a folder; choose another for the hub") from None
            if not record.exists() and (foreign := _foreign(path)):
                raise RunError(f"{path} is not empty and no hub (it holds {foreign}); choose another")
            lock = opened.enter_context(acquire_lock(path))
        known = known_settings(path)
        if known is None:
            with storage_errors(record):
                write_json(record, {"format": FORMAT, "settings": dict(given)}, indent=1)
            known = dict(given)
        for name, value in given.items():
            if known.get(name) != value:
                has = f"has {known[name]!r}" if name in known else "was made without it"
                raise ConfigError(f"{name}: {value!r}, but {path} {has}, and keeps what it was made with")
        opened.pop_all()
        return known, lock


def check_tenants_settings(settings: Mapping[str, Any]) -> RunConfig:
    """Settings, if runs of tenants can have them. Raises ConfigError."""
    config = RunConfig().with_settings(settings)
    task_of(config)  # or it would be said to be of another kind, and not that there is none of its name
    if config.task not in _TASKS or config.learner.kind != "closed-form":
        raise ConfigError(
            "tenants of a hub classify by the closed-form learner (task classify or multilabel); "
            f"not task {config.task!r} with learner {config.learner.kind!r}"
        )
    return config


def budget_bytes(memory_budget_mb: float | None) -> int | None:
    """A budget in bytes. Raises ConfigError where it is none."""
    if memory_budget_mb is None:
        return None
    if isinstance(memory_budget_mb, bool) or not isinstance(memory_budget_mb, int | float):
        raise ConfigError(f"memory_budget_mb must be a number, not {memory_budget_mb!r}")
    if not 1e-6 <= memory_budget_mb <= _MOST_MB:
        raise ConfigError(f"a memory budget of {memory_budget_mb} MB holds nothing, or is none")
    return int(memory_budget_mb * 1e6)


def check_max_examples(max_examples: int | None) -> None:
    """Whether a tenant can have such a quota. Raises ConfigError."""
    if max_examples is None:
        return
    if isinstance(max_examples, bool) or not isinstance(max_examples, int) or max_examples < 1:
        raise ConfigError(f"max_examples must be a whole number from 1, not {max_examples!r}")


def check_processes(processes: int) -> None:
    """Whether there can be so many prediction processes. Raises ConfigError."""
    is_number = isinstance(processes, int) and not isinstance(processes, bool)
    if not is_number or not 0 <= processes <= _MOST_PROCESSES:
        raise ConfigError(f"processes must be from 0 to {_MOST_PROCESSES}, not {processes!r}")


def _foreign(path: Path) -> str | None:
    return next((entry.name for entry in sorted(path.iterdir()) if entry.name != LOCK_NAME), None)
