"""What a run is (``run.json``), and how far it is in its streams."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from everlearn.errors import RunError, StateError
from everlearn.tasks.records import LearnerRecord
from everlearn.version import __version__

__all__ = ["FORMAT_VERSION", "RunRecord", "SourceProgress", "read_record"]

FORMAT_VERSION = 2
_FORMAT = "everlearn run"


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SourceProgress(_Record):
    """How far the run is in one stream.

    Attributes:
        key: Identifies the stream: its absolute path or dataset name.
        cursor: The source's own cursor after the last example taken.
        arrangement: The settings that order the stream, where it is not learned as it is.
        delay: Examples that come between one of its examples and that one's turn; None: as the run's settings
            say, where older runs keep it.
        digest: SHA-256 over the arranged ids and targets; tells whether the stream changed.
        finished: Whether its end was reached.
        examples: Examples taken from it.
        head: SHA-256 over the file's first bytes and their number; tells whether the name now stands
            for another file.
        id_suffix: Added to the ids that the source made up, where they would repeat another's.
        earlier_suffixes: Those of lines that were read before the file was changed or replaced; where
            ``id_suffix`` is among them, no line has been read since that is new.
        begins_alike: Whether it was changed, and begins as it did: lines of which no words are kept are those
            of before.
    """

    key: str
    cursor: dict[str, Any] | None = None
    arrangement: dict[str, Any] | None = None
    delay: int | None = None
    digest: str | None = None
    finished: bool = False
    examples: int = 0
    head: tuple[int, str] | None = None
    id_suffix: str = ""
    earlier_suffixes: list[str] = Field(default_factory=list)
    begins_alike: bool = False


class RunRecord(_Record):
    """The content of ``run.json``: what stays the same while the run goes on, and its settings."""

    format: str = _FORMAT
    format_version: int = FORMAT_VERSION
    everlearn_version: str = __version__
    created: str
    config: dict[str, Any]
    learner: LearnerRecord


def read_record(path: Path) -> RunRecord:
    """Read ``run.json``.

    Raises:
        RunError: Not a run folder's record, or one of another format version.
        StateError: The file is damaged.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise RunError(f"{path.parent} is not a run folder: it has no {path.name}") from None
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise StateError(
            f"{path} is damaged ({error}). Restore it from a copy, or learn into a new folder."
        ) from None
    if not isinstance(value, dict) or value.get("format") != _FORMAT:
        raise RunError(f"{path} is not the record of an everlearn run")
    version = value.get("format_version")
    if version != FORMAT_VERSION:
        writer = value.get("everlearn_version", "an unknown version")
        raise RunError(
            f"{path.parent} has run format version {version} (written by everlearn {writer}); "
            f"this everlearn {__version__} reads version {FORMAT_VERSION}. Use the version that wrote it, "
            "or learn into a new folder."
        )
    try:
        return RunRecord.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise StateError(
            f"{path} is damaged: {where}: {first['msg']}. Restore it from a copy, or learn into a new folder."
        ) from None
