"""What a long operation tells of itself while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

__all__ = ["SILENT", "Listener", "Progress", "SilentListener"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a run stands, for display.

    Attributes:
        examples: Taken from the stream so far, earlier sittings included.
        total: In the stream, if known.
        examples_per_second: Of the last batch.
        num_classes: Labels known.
        rolling_accuracy: 0…1 over the last examples; None while nothing is scored.
        rolling_text: What is shown in its place for texts.
        memory_mb: Resident memory in 10⁶ bytes.
    """

    examples: int
    total: int | None
    examples_per_second: float
    num_classes: int = 0
    rolling_accuracy: float | None = None
    rolling_text: str | None = None
    memory_mb: float = 0.0


class Listener(Protocol):
    """Is told what a run does."""

    def stage(self, text: str) -> None:
        """What begins now, in a few words."""
        ...

    def progress(self, progress: Progress) -> None:
        """A batch was done."""
        ...


class SilentListener:
    """Says nothing."""

    def stage(self, text: str) -> None:
        """Passed over."""

    def progress(self, progress: Progress) -> None:
        """Passed over."""


SILENT = SilentListener()
