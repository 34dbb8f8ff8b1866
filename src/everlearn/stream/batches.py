"""Batches out of single records: what every reader has in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from everlearn.errors import InputError
from everlearn.stream.source import EndOfStream, Rejection
from everlearn.types import Cursor, Example

__all__ = ["BatchReader", "Records"]

# A file of nothing but bad lines must not pile up rejections in one call.
_MAX_REJECTED_PER_BATCH = 1_000


class Records(Protocol):
    """The records of one format, one at a time."""

    def read(self) -> Example | Rejection | None:
        """The next record; None where there is nothing yet.

        Raises:
            EndOfStream: There are no more.
            InputError: The source cannot be read any further. The cursor stays where it was.
        """
        ...

    def cursor(self) -> Cursor:
        """Resumes after the last record read."""
        ...

    def close(self) -> None:
        """Let go of files."""
        ...


class BatchReader:
    """A SourceReader over the records of one format.

    Args:
        records: Where the records come from.
        strict: A rejection ends the stream with InputError.
    """

    def __init__(self, records: Records, *, strict: bool = False) -> None:
        self._records = records
        self._strict = strict
        self._rejected: list[Rejection] = []
        self._ending: EndOfStream | InputError | None = None
        self._final_cursor: Cursor | None = None

    def next_batch(self, limit: int) -> Sequence[Example]:
        """See SourceReader.

        Raises:
            ValueError: ``limit`` is less than 1.
        """
        if limit < 1:
            raise ValueError(f"limit must be at least 1, not {limit}")
        if self._ending is not None:
            raise self._ending
        if self._final_cursor is not None:
            raise ValueError("the reader is closed")
        batch: list[Example] = []
        num_rejected = 0
        try:
            while len(batch) < limit and num_rejected < _MAX_REJECTED_PER_BATCH:
                before = self._records.cursor() if self._strict else None
                entry = self._records.read()
                if isinstance(entry, Example):
                    batch.append(entry)
                elif entry is None:
                    break
                elif self._strict:
                    self._final_cursor = before
                    raise InputError(
                        f"{entry.place}: {entry.reason}; mend the record, or pass it over with --no-strict"
                    )
                else:
                    self._rejected.append(entry)
                    num_rejected += 1
        except (EndOfStream, InputError) as ending:
            # The examples before the end go out first; the next call raises.
            self._ending = ending
            if not batch:
                raise
        return batch

    def cursor(self) -> Cursor:
        """See SourceReader."""
        return self._records.cursor() if self._final_cursor is None else self._final_cursor

    def close(self) -> None:
        """See SourceReader."""
        self._final_cursor = self.cursor()
        self._records.close()

    def take_rejected(self) -> list[Rejection]:
        """See SourceReader."""
        taken, self._rejected = self._rejected, []
        return taken
