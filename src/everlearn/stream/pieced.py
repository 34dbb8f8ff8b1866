"""Long texts of any source's records, cut into pieces for language models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from everlearn.document_piece import DocumentPiece
from everlearn.errors import InputError
from everlearn.stream.documents import piece_id
from everlearn.stream.notes import ReadingNotes
from everlearn.stream.pieces import cut_text
from everlearn.stream.source import DocumentConfig, EndOfStream, Rejection, Source, SourceReader
from everlearn.types import Cursor, Example

__all__ = ["PiecedReader", "PiecedSource", "inner_cursor"]


class PiecedSource:
    """A source whose long texts are cut into pieces; see ``DocumentConfig``.

    An example whose text fits into one piece, or that holds a chat, passes as it is. The pieces of
    another share its other fields; their ids are the example's, ``<id>#1``, ``<id>#2`` and so on.

    >>> from everlearn.stream import open_source
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "texts.jsonl")
    ...     _ = path.write_text('{"id": "a", "text": "one two three four five"}')
    ...     source = PiecedSource(open_source(path), DocumentConfig(max_piece_bytes=16))
    ...     reader = source.open()
    ...     for piece in reader.next_batch(10):
    ...         print(piece.id, repr(piece.text), DocumentPiece.of(piece).is_last)
    ...     reader.close()
    a 'one two three' False
    a#1 ' four five' True

    Args:
        source: Any source.
        config: How long a piece may be.
        messages: The field whose presence says that an example is a chat.
    """

    def __init__(self, source: Source, config: DocumentConfig, *, messages: str | None = "messages") -> None:
        self.name = source.name
        self.source = source
        self._max_bytes = config.max_piece_bytes
        self._messages = messages

    def open(self, cursor: Cursor | None = None) -> PiecedReader:
        """See Source."""
        reader = self.source.open(None if cursor is None else inner_cursor(cursor, self.name))
        return PiecedReader(reader, self._max_bytes, self._messages, self.name, cursor)

    @property
    def notes(self) -> ReadingNotes:
        """Of the source, if it makes any."""
        notes = getattr(self.source, "notes", None)
        return notes if isinstance(notes, ReadingNotes) else ReadingNotes(self.name)

    def count(self) -> int | None:
        """None: the number of pieces is known only once they are cut."""
        return None


class PiecedReader:
    """A reader whose long texts are cut.

    The cursor ``{"before": …, "part": k, "after": …}`` holds the source's cursors before and after the
    record that the last example came from, and how many of its pieces were returned; ``after`` alone:
    all of them were.

    Args:
        reader: Gives the examples.
        max_bytes: The longest piece.
        messages: The field of chats, which are not cut.
        name: The source's name, for messages.
        cursor: Where an earlier reader stood. The first example of ``reader`` is then the one that it was
            in the middle of, if it was.
    """

    def __init__(
        self,
        reader: SourceReader,
        max_bytes: int,
        messages: str | None,
        name: str,
        cursor: Cursor | None = None,
    ) -> None:
        self._reader = reader
        self._max_bytes = max_bytes
        self._messages = messages
        self._name = name
        self._before: Cursor = reader.cursor()
        self._pieces: list[Example] = []
        self._num_given = 0
        self._resumed_at: Cursor | None = None
        if cursor is not None and (rest := _rest_of(cursor, name)) is not None:
            self._before, self._num_given = rest
            self._resumed_at = cursor

    def next_batch(self, limit: int) -> Sequence[Example]:
        """See SourceReader.

        Raises:
            ValueError: ``limit`` is less than 1.
        """
        if limit < 1:
            raise ValueError(f"limit must be at least 1, not {limit}")
        batch: list[Example] = []
        while len(batch) < limit:
            if not self._pieces:
                before = self._reader.cursor()
                try:
                    # One at a time, so that the place before each is known.
                    found = self._reader.next_batch(1)
                except (EndOfStream, InputError):
                    if batch:
                        break  # it is raised again
                    raise
                if not found:
                    break
                self._cut(found[0], before)
            taken = self._pieces[: limit - len(batch)]
            del self._pieces[: len(taken)]
            self._num_given += len(taken)
            batch += taken
        return batch

    def _cut(self, example: Example, before: Cursor) -> None:
        pieces = self._pieces_of(example)
        if self._resumed_at is None:
            self._before, self._num_given = before, 0
        elif self._num_given >= len(pieces):
            raise InputError(
                f"{self._name}: example {example.id!r} has {len(pieces)} pieces, not more than the "
                f"{self._num_given} that were read before: another file, or another length of pieces?"
            )
        else:
            # What was rejected on the way to the example was told when its first piece was returned.
            self._reader.take_rejected()
            self._resumed_at = None
        self._pieces = pieces[self._num_given :]

    def _pieces_of(self, example: Example) -> list[Example]:
        text, limit = example.text, self._max_bytes
        # A character has four bytes at most.
        if text is None or 4 * len(text) <= limit or len(text.encode()) <= limit:
            return [example]
        if self._messages is not None and self._messages in example.fields:
            return [example]
        parts = cut_text(text, limit)
        return [
            DocumentPiece(example.id, part, is_last=part == len(parts) - 1).put_on(
                replace(example, id=piece_id(example.id, part), text=piece)
            )
            for part, piece in enumerate(parts)
        ]

    def cursor(self) -> Cursor:
        """See SourceReader."""
        if self._resumed_at is not None:
            return self._resumed_at
        after = self._reader.cursor()
        if not self._pieces:
            return {"after": after}
        return {"before": self._before, "part": self._num_given, "after": after}

    def close(self) -> None:
        """See SourceReader."""
        self._reader.close()

    def take_rejected(self) -> list[Rejection]:
        """See SourceReader."""
        rejected = self._reader.take_rejected()
        return rejected if self._resumed_at is None else []


def inner_cursor(cursor: Cursor, name: str) -> Cursor:
    """Where to open the source whose long texts are cut.

    Raises:
        InputError: The cursor is not one of pieces.
    """
    rest = _rest_of(cursor, name)
    inner: Cursor = cursor["after"] if rest is None else rest[0]
    return inner


def _rest_of(cursor: Cursor, name: str) -> tuple[Cursor, int] | None:
    """The place before the example that is not over, and its pieces returned; None: all are over.

    Raises:
        InputError: The cursor is not one of pieces.
    """
    part = cursor.get("part", 0)
    is_whole = "before" not in cursor
    if not isinstance(cursor.get("after"), Mapping) or not (
        is_whole or (isinstance(cursor["before"], Mapping) and isinstance(part, int) and part > 0)
    ):
        raise InputError(f"{name}: the cursor {dict(cursor)!r} is not one of pieces of texts")
    return None if is_whole else (cursor["before"], part)
