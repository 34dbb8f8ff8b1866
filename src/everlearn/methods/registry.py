"""Methods by name: an explicit table, and the entry-point group ``everlearn.methods``.

Another distribution adds a method with::

    [project.entry-points."everlearn.methods"]
    my-method = "my_package.my_method:ENTRY"

where ``ENTRY`` is a ``MethodEntry``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from importlib.metadata import entry_points
from typing import Any

from everlearn.errors import ConfigError
from everlearn.learning.method import Method
from everlearn.methods.anchor import Anchor, AnchorConfig
from everlearn.methods.distillation import DistillationConfig, SnapshotDistillation
from everlearn.methods.orthogonal import OrthogonalConfig, OrthogonalSubspaces
from everlearn.methods.replay import ExperienceReplay, ReplayConfig
from everlearn.types import Json

__all__ = ["ENTRY_POINT_GROUP", "METHODS", "MethodEntry", "create_method", "method_names"]

ENTRY_POINT_GROUP = "everlearn.methods"


@dataclass(frozen=True)
class MethodEntry:
    """How a method is made from settings.

    Attributes:
        create: Makes the method from its config, as its class does.
        config: The config dataclass.
    """

    create: Callable[[Any], Method]
    config: type[Any]


METHODS: Mapping[str, MethodEntry] = {
    "anchor": MethodEntry(Anchor, AnchorConfig),
    "distillation": MethodEntry(SnapshotDistillation, DistillationConfig),
    "orthogonal": MethodEntry(OrthogonalSubspaces, OrthogonalConfig),
    "replay": MethodEntry(ExperienceReplay, ReplayConfig),
}


def method_names() -> list[str]:
    """Names of all methods, built in or installed, sorted; nothing is imported."""
    return sorted({*METHODS, *(point.name for point in entry_points(group=ENTRY_POINT_GROUP))})


def create_method(name: str, settings: Mapping[str, Json] | None = None) -> Method:
    """Make a method by name.

    Args:
        name: One of ``method_names()``. A built-in name cannot be taken over by an entry point.
        settings: Fields of its config; what is left out has its default.

    Raises:
        ConfigError: Unknown name or setting, a value out of range, or an entry point that cannot be
            loaded or is no ``MethodEntry``.
    """
    settings = settings or {}
    entry = _entry(name)
    known = [field.name for field in fields(entry.config)]
    unknown = sorted(settings.keys() - set(known))
    if unknown:
        raise ConfigError(f"method {name!r} has no setting {unknown[0]!r}; it has {known}")
    return entry.create(entry.config(**settings))


def _entry(name: str) -> MethodEntry:
    if name in METHODS:
        return METHODS[name]
    for point in entry_points(group=ENTRY_POINT_GROUP, name=name):
        try:
            entry = point.load()
        except (ImportError, AttributeError) as error:
            raise ConfigError(f"method {name!r} ({point.value}) cannot be loaded: {error}") from error
        if not isinstance(entry, MethodEntry) or not is_dataclass(entry.config):
            raise ConfigError(
                f"method {name!r}: {point.value} must be an everlearn.methods.MethodEntry with a "
                f"dataclass as config, not {type(entry).__name__}"
            )
        return entry
    raise ConfigError(f"there is no method {name!r}; known are {method_names()}")
