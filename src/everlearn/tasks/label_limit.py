"""Refuses labels beyond a limit as they come in, so that nothing journaled ever meets it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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

    def problem_of(self, labels: Sequence[str]) -> str | None:
        """Why some labels have no room; None: they have, and are known from now on."""
        new = [label for label in dict.fromkeys(labels) if label not in self._known]
        if not new or len(self._known) + len(new) <= self._limit:
            self._known.update(new)
            return None
        return (
            f"label {new[-1]!r} would be one more than the {self._limit:,} that the run takes "
            "(--max-classes); raise it and give the record again, or check that the target field holds "
            "labels, not free text"
        )
