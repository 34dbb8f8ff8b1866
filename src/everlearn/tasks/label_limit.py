"""Refuses labels beyond a limit as they come in, so that nothing journaled ever meets it."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["LabelLimit"]


class LabelLimit:
    """Lets labels in while there is room.

    Args:
        limit: Labels that the run takes.
        known: Those that it has learned, or is to learn.
    """

    def __init__(self, limit: int, known: Iterable[str]) -> None:
        self._limit = limit
        self._known = set(known)

    def problem_of(self, label: str | None) -> str | None:
        """Why a label has no room; None: it has, and is known from now on."""
        if label is None or label in self._known:
            return None
        if len(self._known) < self._limit:
            self._known.add(label)
            return None
        return (
            f"label {label!r} would be one more than the {self._limit:,} that the run takes (--max-classes); "
            "raise it and give the record again, or check that the target field holds labels, not free text"
        )
