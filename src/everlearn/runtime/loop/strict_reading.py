"""Reading for a run that stops at the first record that it cannot use: every example's place is known."""

from __future__ import annotations

from everlearn.errors import InputError
from everlearn.runtime.loop.feeds import ArrangedFeed
from everlearn.stream.source import EndOfStream, SourceReader
from everlearn.types import Cursor, Example

__all__ = ["StrictReader"]


class StrictReader:
    """Batches of a feed, read one example at a time, so that a run can stop inside a batch and go on there.

    Args:
        feed: Where the examples come from.
        experiences: The same, where the stream is cut in experiences: a batch lies within one.
    """

    def __init__(self, feed: SourceReader, experiences: ArrangedFeed | None) -> None:
        self._feed = feed
        self._experiences = experiences
        self._cursors: list[Cursor] = []
        self._ending: EndOfStream | InputError | None = None

    def next_batch(self, limit: int) -> list[Example]:
        """See SourceReader."""
        if self._ending is not None:
            raise self._ending
        batch: list[Example] = []
        self._cursors = []
        try:
            while len(batch) < limit:
                cursor = self._feed.cursor()
                examples = self._feed.next_batch(1)
                if not examples:
                    break
                batch += examples
                self._cursors.append(cursor)
                if self._experiences is not None and self._experiences.completed_experience() is not None:
                    break
        except (EndOfStream, InputError) as ending:
            self._ending = ending
            if not batch:
                raise
        return batch

    def cursor_before(self, index: int) -> Cursor:
        """Resumes at an example of the last batch."""
        return self._cursors[index]
