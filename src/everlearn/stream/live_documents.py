"""Standard input for language models: documents in pieces, or lines of JSON whose texts are cut."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from everlearn.errors import InputError
from everlearn.stream.source import Rejection, SourceReader
from everlearn.types import Cursor, Example

__all__ = ["LiveDocumentsReader", "is_json_lines"]

ReadChunk = Callable[[], bytes | None]

# How an object with at least one field begins; plain text hardly ever does.
_JSON = re.compile(rb"(?:\xef\xbb\xbf)?\s*\{\s*(.)", re.DOTALL)
_MAX_HEAD_BYTES = 1 << 12


def is_json_lines(head: bytes) -> bool | None:
    """Whether a stream that begins so holds lines of JSON; None where more must be seen."""
    found = _JSON.match(head)
    if found is not None:
        return found[1] == b'"'
    bare = head.removeprefix(b"\xef\xbb\xbf").strip()
    is_open = bare in (b"", b"{", b"\xef", b"\xef\xbb") and len(head) < _MAX_HEAD_BYTES
    return None if is_open else False


class LiveDocumentsReader:
    """Looks at how a stream begins, then reads it as what it is. Until then its cursor is the given one.

    Args:
        read_chunk: Gives the next bytes; empty at the end, None where there is nothing yet.
        make_reader: Makes a reader of lines of JSON (True) or of documents (False) of bytes.
        cursor: Where an earlier reader stood.
        was_json: What that reader found; None: nothing yet.
        name: The source's name, for messages.
        close: Called by ``close``.
    """

    def __init__(
        self,
        read_chunk: ReadChunk,
        make_reader: Callable[[bool, ReadChunk], SourceReader],
        *,
        cursor: Cursor | None,
        was_json: bool | None,
        name: str,
        close: Callable[[], None],
    ) -> None:
        self._read_chunk = read_chunk
        self._make_reader = make_reader
        self._cursor: Cursor = {} if cursor is None else cursor
        self._was_json = was_json
        self._name = name
        self._close = close
        self._head = b""
        self._reader: SourceReader | None = None

    def next_batch(self, limit: int) -> Sequence[Example]:
        """See SourceReader."""
        if self._reader is None:
            self._look()
        return [] if self._reader is None else self._reader.next_batch(limit)

    def _look(self) -> None:
        is_json = None
        while is_json is None:
            chunk = self._read_chunk()
            if chunk is None:
                return
            self._head += chunk
            is_json = is_json_lines(self._head) if chunk else False
        if self._was_json is not None and self._head and is_json != self._was_json:
            before, now = ("JSON", "plain text") if self._was_json else ("plain text", "JSON")
            raise InputError(
                f"{self._name} holds {now}, but held {before} when this run read it before; "
                "use another run, or convert it"
            )
        if self._was_json is not None:  # an empty stream is whatever it was
            is_json = self._was_json
        self._reader = self._make_reader(is_json, self._rest)

    def _rest(self) -> bytes | None:
        head, self._head = self._head, b""
        return head or self._read_chunk()

    def cursor(self) -> Cursor:
        """See SourceReader."""
        return self._cursor if self._reader is None else self._reader.cursor()

    def close(self) -> None:
        """See SourceReader."""
        if self._reader is not None:
            self._reader.close()
        self._close()

    def take_rejected(self) -> list[Rejection]:
        """See SourceReader."""
        return [] if self._reader is None else self._reader.take_rejected()
