"""Errors that a user can meet. Each message names the place and the remedy.

``EverlearnError`` is the root; ``exit_code`` is what the command line exits with.
"""

from __future__ import annotations

__all__ = [
    "ConfigError",
    "ConfigFileError",
    "EverlearnError",
    "InUseError",
    "InputError",
    "MissingExtraError",
    "ModelError",
    "RunError",
    "StateError",
    "StoppedError",
    "StorageError",
]


class EverlearnError(Exception):
    """Root of all errors that everlearn raises for its users."""

    exit_code: int = 1


class ConfigError(EverlearnError, ValueError):
    """A setting is wrong: unknown key, value out of range, two settings that exclude each other."""

    exit_code = 2


class ConfigFileError(ConfigError):
    """A settings file cannot be read, or a setting in it is wrong."""


class InputError(EverlearnError, ValueError):
    """A stream or file cannot be read, or a record in it is wrong and the run is strict."""

    exit_code = 3


class ModelError(EverlearnError):
    """A model cannot be found, loaded or verified."""

    exit_code = 4


class RunError(EverlearnError):
    """A run folder is missing, in use, of another format version, or does not fit the command."""

    exit_code = 5


class InUseError(RunError):
    """Another process, or another part of this one, has the folder open for writing."""


class StateError(EverlearnError):
    """A saved state is damaged, truncated or belongs to another learner."""

    exit_code = 6


class StoppedError(EverlearnError):
    """A stop was asked for; what the message does not say is as before."""

    exit_code = 130


class StorageError(EverlearnError):
    """Writing failed: disk full, no permission. What was reported as saved before is intact."""

    exit_code = 7


class MissingExtraError(EverlearnError, ImportError):
    """An optional dependency is not installed.

    Args:
        package: What could not be imported.
        extra: The extra of everlearn that brings it.
    """

    exit_code = 8

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"{package} is not installed; install it with: pip install {package} "
            f"(it comes with everlearn[{extra}])"
        )
        self.package = package
        self.extra = extra
