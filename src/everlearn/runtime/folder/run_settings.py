"""Which settings hold for a ``learn``: those given now, those of the run, the defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from everlearn.errors import ConfigError, RunError, StateError
from everlearn.models.storage.folder import lasting_spec
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.folder.run_record import SourceProgress, read_record
from everlearn.runtime.folder.stream_keys import head_of
from everlearn.runtime.threads import use_threads
from everlearn.settings import RunConfig, flatten_settings
from everlearn.stream.lines import stem_of
from everlearn.tasks.table import task_begun_by, task_of

__all__ = [
    "is_arranged",
    "known_source",
    "new_folder_name",
    "settings_for",
    "settings_in_file",
    "source_named",
    "use_threads_of",
]

# These make the learner what it is; a run keeps them for life.
_FIXED = ("task", "seed", "model.", "learner.", "guard.share", "run.rolling_window")
# Nothing of what was learned depends on these: another place of the model or its adapter is known by the
# weights, how many labels there may be is a limit for what comes in, a changed learning rate is journaled.
_FREE_ALL_THE_SAME = frozenset(
    {
        *("model.device", "model.name", "model.adapter"),
        *("learner.closed_form.max_classes", "learner.gradient.max_classes"),
        *("learner.gradient.learning_rate", "learner.gradient.head_learning_rate"),
    }
)
_ORDERING = {"stream.order": "order", "stream.experiences": "experiences"}
# The cursor in a stream counts what these make of it.
_OF_THE_CURSOR = ("stream.documents", "stream.piece_bytes", "stream.encoding", "stream.delimiter")


def settings_in_file(config_file: Path | None) -> dict[str, Any]:
    """What a YAML file sets, by dotted path; nothing without one.

    Raises:
        ConfigError: The file cannot be read, or a setting in it is wrong.
    """
    if config_file is None:
        return {}
    return dict(
        flatten_settings(RunConfig.from_file(config_file).model_dump(mode="json", exclude_unset=True))
    )


def with_task(given: Mapping[str, Any], stream: str) -> dict[str, Any]:
    """Settings for something new, with the task that the stream's beginning shows where none is given.

    Args:
        given: Explicit settings by dotted path.
        stream: As given.

    Raises:
        ConfigError: A setting is wrong.
    """
    if given.get("task") is not None:
        return dict(given)
    return {**given, "task": task_begun_by(stream, RunConfig().with_settings(given))}


def settings_for(given: Mapping[str, Any], folder: RunFolder | None, key: str) -> RunConfig:
    """The settings of a sitting.

    Args:
        given: Explicit settings by dotted path.
        folder: The run that is continued, if one is.
        key: Identifies the stream.

    Raises:
        ConfigError: A setting is wrong, or differs from one that the run keeps; all are named.
    """
    if given.get("model.name") is not None:
        given = {**given, "model.name": lasting_spec(str(given["model.name"]))}
    if given.get("model.adapter") is not None:
        given = {**given, "model.adapter": str(Path(str(given["model.adapter"])).expanduser().resolve())}
    if folder is None:
        config = RunConfig().with_settings(given)
        task = task_of(config)
        defaults = {"model.name": task.model_name(config), **task.defaults(config)}
        return config.with_settings({name: value for name, value in defaults.items() if name not in given})
    own = dict(flatten_settings(folder.config.to_mapping()))
    sources = folder.sources()
    progress, named = known_source(sources, key), source_named(sources, key)
    if progress is None:
        # Order and delay belong to a stream: another one does not take them over.
        own |= {"stream.order": "as-is", "stream.experiences": 1, "stream.delay": 0}
    elif progress.arrangement is not None:
        own |= {path: progress.arrangement[name] for path, name in _ORDERING.items()}
    else:
        own |= {"stream.order": "as-is", "stream.experiences": 1}
    if named is not None and named.delay is not None:
        own["stream.delay"] = named.delay
    asked = folder.config.with_settings(own).with_settings(given)
    task_of(asked)  # or it would be said to differ, and not that there is none of this name
    wanted = dict(flatten_settings(asked.to_mapping()))
    differing = [
        f"{path} is {_shown(own[path])} in the run, {_shown(wanted[path])} was given"
        for path in own
        if wanted[path] != own[path]
        and (_is_fixed(path) or (progress is not None and path in (*_ORDERING, *_OF_THE_CURSOR)))
    ]
    if differing:
        raise ConfigError(
            f"{folder.path} was made with other settings: {'; '.join(differing)}. "
            "Leave them out to go on, or learn into a new folder."
        )
    return asked


def use_threads_of(run: Path) -> None:
    """Use as many threads as a run is set to; whoever opens the run tells what is wrong with it."""
    with suppress(RunError, StateError):
        use_threads(read_record(run / "run.json").config["run"]["threads"])


def known_source(sources: Sequence[SourceProgress], key: str) -> SourceProgress | None:
    """The progress in a stream that a run has met; None for a new one, also under an old name."""
    for source in sources:
        if source.key == key and (source.head is None or head_of(key, source.head[0]) == tuple(source.head)):
            return source
    return None


def source_named(sources: Sequence[SourceProgress], key: str) -> SourceProgress | None:
    """The progress in what lay under a stream's name so far, be it this one or another; None: nothing did."""
    return next((source for source in sources if source.key == key), None)


def is_arranged(config: RunConfig) -> bool:
    """Whether a stream is read whole and ordered before it is learned."""
    return config.stream.order != "as-is" or config.stream.experiences > 1


def new_folder_name(stream: str) -> Path:
    """A folder under ``runs/`` that does not exist: the stream's name and the time."""
    name = "stdin" if stream == "-" else stem_of(Path(stream.rstrip("/").replace(":", "-")))
    moment = datetime.now(UTC).astimezone().strftime("%Y%m%d-%H%M%S")
    base = Path("runs") / f"{name}-{moment}"
    path, number = base, 2
    while path.exists():
        path, number = base.with_name(f"{base.name}-{number}"), number + 1
    return path


def _is_fixed(path: str) -> bool:
    if path in _FREE_ALL_THE_SAME:
        return False
    return any(path == fixed or (fixed.endswith(".") and path.startswith(fixed)) for fixed in _FIXED)


def _shown(value: Any) -> str:
    return "at its default" if value is None else repr(value)
