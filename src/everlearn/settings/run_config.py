"""The settings of a run as one typed tree: YAML in and out, unknown keys refused.

A setting is addressed by its dotted path (``model.max_length``) in messages and in
:meth:`RunConfig.with_settings`. The packages below the tasks never see this tree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_origin

import yaml
from pydantic import Field, ValidationError

from everlearn.errors import ConfigError, ConfigFileError
from everlearn.settings.declarations import Declared, declared_in
from everlearn.settings.guard import GuardSettings
from everlearn.settings.learner import LearnerSettings
from everlearn.settings.model import ModelSettings
from everlearn.settings.saving import RunSettings
from everlearn.settings.section import EVERY_TASK, LABEL_TASKS, Section, problems_of, setting
from everlearn.settings.stream import StreamSettings

__all__ = ["DECLARED", "RunConfig", "flatten_settings"]


class RunConfig(Section):
    """All settings of a run.

    >>> config = RunConfig().with_settings({"model.max_length": 64})
    >>> config.model.max_length
    64
    >>> RunConfig.from_yaml(config.to_yaml()) == config
    True
    """

    task: str = setting("classify", "--task", "TASK", shown_for=EVERY_TASK)
    """classify (a label for each text), multilabel (lists of labels; also where no task is given and
    the first records of a new run's file have such), lm (the next token of documents) or seq2seq
    (translations)."""
    seed: int = setting(0, "--seed", "N", ge=0, lt=2**63, panel="Learner")
    """Seed of everything random."""
    model: ModelSettings = Field(default_factory=ModelSettings)
    stream: StreamSettings = Field(default_factory=StreamSettings)
    learner: LearnerSettings = Field(default_factory=LearnerSettings)
    guard: GuardSettings = Field(default_factory=GuardSettings)
    run: RunSettings = Field(default_factory=RunSettings)

    @property
    def own_defaults(self) -> dict[str, Any]:
        """Defaults of new runs with this task and learner, by dotted path."""
        learner = self.learner.kind if self.task in LABEL_TASKS else self.task
        return {
            path: one.setting.own_defaults[learner]
            for path, one in DECLARED.items()
            if one.setting.own_defaults.get(learner) is not None
        }

    @property
    def model_name(self) -> str:
        """The model, the task's own where none is named.

        Raises:
            ConfigError: None is named, and the task has none of its own.
        """
        name = self.model.name or self.own_defaults.get("model.name")
        if name is None:
            raise ConfigError(
                "model.name: no encoder-decoder comes with everlearn; name a folder or a hub name of one"
            )
        return str(name)

    @classmethod
    def from_mapping(cls, values: Any, *, place: str = "settings") -> RunConfig:
        """Validate a nested mapping; null stands for a default.

        Raises:
            ConfigError: Names ``place`` and every wrong or unknown setting with its value.
        """
        if not isinstance(values, Mapping):
            raise ConfigError(f"{place}: expected settings by name, found {type(values).__name__}")
        try:
            return cls.model_validate(_given(values))
        except ValidationError as error:
            raise ConfigError(f"{place}: {'; '.join(problems_of(error, DECLARED))}") from None

    @classmethod
    def from_yaml(cls, text: str, *, place: str = "settings") -> RunConfig:
        """Read YAML text. Raises ConfigError as :meth:`from_mapping` does."""
        try:
            values = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"{place}: not YAML: {error}") from None
        return cls.from_mapping({} if values is None else values, place=place)

    @classmethod
    def from_file(cls, path: Path) -> RunConfig:
        """Read a YAML file. Raises ConfigFileError where it cannot be read or is wrong."""
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigFileError(f"{path}: cannot read the settings: {error}") from None
        try:
            return cls.from_yaml(text, place=str(path))
        except ConfigError as error:
            raise ConfigFileError(str(error)) from None

    def to_mapping(self) -> dict[str, Any]:
        """All settings as nested JSON values."""
        return self.model_dump(mode="json")

    def to_yaml(self) -> str:
        """All settings as YAML, in the order of the tree."""
        text: str = yaml.safe_dump(self.to_mapping(), sort_keys=False, allow_unicode=True)
        return text

    def with_settings(self, settings: Mapping[str, Any], *, place: str = "settings") -> RunConfig:
        """Another configuration in which the dotted ``settings`` have these values.

        Raises:
            ConfigError: As :meth:`from_mapping`.
        """
        tree = self.to_mapping()
        for path, value in settings.items():
            *sections, name = path.split(".")
            section = tree
            for part in sections:
                section = section.setdefault(part, {})
                if not isinstance(section, dict):
                    raise ConfigError(f"{place}: no such setting: {path}")
            section[name] = value
        return RunConfig.from_mapping(tree, place=place)


DECLARED: Mapping[str, Declared] = {one.path: one for one in declared_in(RunConfig)}
"""Every setting of a run by its path."""

# Settings that are mappings themselves: what is in them has names of its own.
_WHOLE = frozenset(path for path, one in DECLARED.items() if get_origin(one.type) is dict)


def flatten_settings(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings as (dotted path, value), in order.

    >>> dict(flatten_settings({"seed": 1, "model": {"name": "minilm"}}))
    {'seed': 1, 'model.name': 'minilm'}
    """
    for name, value in values.items():
        if isinstance(value, Mapping) and f"{prefix}{name}" not in _WHOLE:
            yield from flatten_settings(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _given(values: Mapping[Any, Any]) -> dict[Any, Any]:
    """Nested settings without those that are null."""
    nested = {name: _given(one) if isinstance(one, Mapping) else one for name, one in values.items()}
    return {name: one for name, one in nested.items() if one is not None}
