"""Reading for a run that stops at the first record that it cannot use: every example's place is known."""

from __future__ import annotations

from typing import Any

from everlearn.errors import InputError
from everlearn.runtime.loop.feeds import Feed
from everlearn.stream.source import EndOfStream
from everlearn.types import Example

__all__ = ["StrictReader"]


class StrictReader:
    """Batches of a feed, read one example at a time, so that a run can stop inside a batch and go on there.

    Args:
        feed: Where the examples come from.
    """

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._cursors: list[dict[str, Any]] = []
        self._ending: EndOfStream | InputError | None = None

    def next_batch(self, limit: int) -> list[Example]:
        """See Feed."""
        if self._ending is not None:
            raise self._ending
        batch: list[Example] = []
        self._cursors = []
        try:
            while len(batch) < limit:
                cursor = self._feed.cursor()
                one = self._feed.next_batch(1)
                if not one:
                    break
                batch += one
                self._cursors.append(cursor)
                if self._feed.completed_experience() is not None:
                    break
        except (EndOfStream, InputError) as ending:
            self._ending = ending
            if not batch:
                raise
        return batch

    def cursor_before(self, index: int) -> dict[str, Any]:
        """Resumes at an example of the last batch."""
        return self._cursors[index]
