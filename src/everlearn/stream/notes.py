"""What a source found out about itself while it was read, and its user should know."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from everlearn.stream.encodings import Recognised

__all__ = ["ReadingNotes", "reading_notes", "why_no_targets"]


class ReadingNotes:
    """Sentences about a source, each told once.

    Args:
        name: The source's.

    Attributes:
        no_targets: Why records had no target, where that is known.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.no_targets: str | None = None
        self._sentences: dict[str, str] = {}

    def add(self, about: str, sentence: str) -> None:
        """Note something, unless something was noted about it before."""
        self._sentences.setdefault(about, sentence)

    def encoding(self, recognised: Recognised | None) -> None:
        """Note the encoding that was recognised, if one had to be."""
        if recognised is not None:
            letters = f"{recognised.characters}, " if recognised.characters else ""
            shown = f" ({letters}first in line {recognised.line})" if recognised.line else ""
            self.add(
                "encoding",
                f"{self.name} is not UTF-8 and is read as {recognised.name}{shown}. Where that is wrong, "
                "begin anew with its name (--encoding).",
            )

    def sentences(self) -> list[str]:
        """What was noted, in that order."""
        return list(self._sentences.values())


@runtime_checkable
class _Noting(Protocol):
    @property
    def notes(self) -> ReadingNotes: ...


def reading_notes(source: object) -> list[str]:
    """The notes of a source, in sentences; none of one that makes none."""
    return source.notes.sentences() if isinstance(source, _Noting) else []


def why_no_targets(source: object) -> str | None:
    """Why records of a source had no target, where it knows."""
    return source.notes.no_targets if isinstance(source, _Noting) else None
