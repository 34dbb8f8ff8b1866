"""Cuts bytes into documents, and long documents into pieces, without ever holding a document whole."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from everlearn.errors import InputError
from everlearn.stream.source import DocumentConfig, EndOfStream

__all__ = ["PieceScanner", "Place", "RawPiece", "cut_text", "piece_end"]

_WHITE = rb"[ \t\r\f\v]"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Place:
    """A place between two pieces.

    Attributes:
        document: Documents that have ended before it.
        line: Line ends before it.
        offset: Bytes before it.
        is_inside: Whether it lies within a document.
    """

    document: int = 0
    line: int = 0
    offset: int = 0
    is_inside: bool = False


@dataclass(frozen=True, slots=True)
class RawPiece:
    """A piece of a document as bytes, which need not be text.

    Attributes:
        data: The bytes, at least one.
        number: Of the document, from 1; where each line is a document, that of the line.
        line: The line it begins in, from 1.
        is_last: Whether the document ends with it.
        after: The place behind it, and behind what separates it from the next document.
    """

    data: bytes
    number: int
    line: int
    is_last: bool
    after: Place


class PieceScanner:
    r"""Cuts chunks of bytes into documents and pieces. The result does not depend on the chunks.

    A line ends with ``\n`` or ``\r\n``; a line of spaces, tabs and the like is blank, unless there are
    more than ``max_piece_bytes`` of them. Blank lines between documents, and the line end before them,
    belong to no document.

    Args:
        read_chunk: Gives the next bytes; empty at the end, None where there is nothing yet.
        config: What is a document, and how long a piece may be.
        source: What messages call the source.
        place: Where the chunks begin.
    """

    def __init__(
        self, read_chunk: Callable[[], bytes | None], config: DocumentConfig, source: str, place: Place
    ) -> None:
        self.place = place
        self._read_chunk = read_chunk
        self._split = config.split
        self._max_bytes = limit = config.max_piece_bytes
        self._source = source
        self._buffer = b""
        self._begin = 0
        self._is_over = False
        self._num_added = 0
        blank = rb"%s{0,%d}\n" % (_WHITE, limit)
        end = rb"\r?\n" if config.split == "lines" else rb"\r?\n" + blank
        unfinished = rb"\r\Z" if config.split == "lines" else rb"(?:\r?\n%s{0,%d}|\r)\Z" % (_WHITE, limit)
        self._blank_lines = re.compile(rb"(?:%s)+" % blank)
        self._document_end = re.compile(end)
        self._unfinished_end = re.compile(unfinished)
        self._longest_end = limit + 3

    def read(self) -> RawPiece | None:
        """The next piece; None: nothing yet.

        Raises:
            EndOfStream: There are no more.
            InputError: The chunks cannot be read any further.
        """
        while True:
            piece = self._next_piece()
            if piece is not None:
                return piece
            if self._is_over:
                raise EndOfStream
            if not self._read_more():
                return None

    def _read_more(self) -> bool:
        try:
            chunk = self._read_chunk()
        except InputError as error:
            raise InputError(f"{self._source}:{self.place.line + 1}: {error}") from error
        if chunk is None:
            return False
        self._buffer = self._buffer[self._begin :] + chunk
        self._begin = 0
        if not chunk:
            self._is_over = True
            if self._buffer and self._split != "file":
                # The end of the stream ends the last document as blank lines would.
                added = b"\n\n" if self._split == "blank-lines" else b"\n"
                self._buffer += added
                self._num_added = len(added)
        return True

    def _next_piece(self) -> RawPiece | None:
        if not self.place.offset and not self._pass_byte_order_mark():
            return None
        if not self.place.is_inside and self._split != "file" and not self._pass_blank_lines():
            return None
        buffer, begin, limit = self._buffer, self._begin, self._max_bytes
        num_waiting = len(buffer) - begin
        if self._split == "file":
            if self._is_over and 0 < num_waiting <= limit:
                # A file of nothing but white space holds no document.
                is_text = self.place.is_inside or not buffer[begin:].isspace()
                return self._last_piece(len(buffer), len(buffer)) if is_text else None
        else:
            found = self._document_end.search(buffer, begin, begin + limit + self._longest_end)
            if found is not None and found.start() <= begin + limit:
                return self._last_piece(found.start(), found.end())
            if not self._is_over and num_waiting > limit:
                unfinished = self._unfinished_end.search(buffer, begin)
                if unfinished is not None and unfinished.start() <= begin + limit:
                    return None
        if num_waiting <= limit:
            return None
        # More than a piece waits, and the document does not end within it: more of it follows.
        end = piece_end(buffer, begin, limit)
        before = self.place
        self._pass(end, before.document, is_inside=True)
        return self._piece(buffer[begin:end], before, is_last=False)

    def _last_piece(self, end: int, resume: int) -> RawPiece | None:
        data = self._buffer[self._begin : end]
        before = self.place
        self._pass(resume, before.document + 1, is_inside=False)
        # A pipe that is opened anew within a document can begin with its end.
        return self._piece(data, before, is_last=True) if data else self._next_piece()

    def _piece(self, data: bytes, before: Place, *, is_last: bool) -> RawPiece:
        number = before.line if self._split == "lines" else before.document
        return RawPiece(data, number + 1, before.line + 1, is_last, self.place)

    def _pass_byte_order_mark(self) -> bool:
        """Whether it is known that no byte order mark comes, or it is passed."""
        head = self._buffer[self._begin : self._begin + len(_BYTE_ORDER_MARK)]
        if head == _BYTE_ORDER_MARK:
            self._pass(self._begin + len(head), self.place.document, is_inside=self.place.is_inside)
        elif not self._is_over and _BYTE_ORDER_MARK.startswith(head):
            return False
        return True

    def _pass_blank_lines(self) -> bool:
        """Whether something waits that is no blank line."""
        found = self._blank_lines.match(self._buffer, self._begin)
        if found is not None:
            self._pass(found.end(), self.place.document, is_inside=False)
        head = self._buffer[self._begin : self._begin + self._max_bytes + 1]
        return len(head) > self._max_bytes or (bool(head) and not head.isspace())

    def _pass(self, resume: int, document: int, *, is_inside: bool) -> None:
        num_real = min(resume, len(self._buffer) - self._num_added) - self._begin
        self.place = Place(
            document=document,
            line=self.place.line + self._buffer.count(b"\n", self._begin, resume),
            offset=self.place.offset + max(num_real, 0),
            is_inside=is_inside,
        )
        self._begin = resume


def piece_end(data: bytes, begin: int, limit: int) -> int:
    """Where to cut, at most ``limit`` bytes after ``begin``; more than that must be there.

    After the last line end, else before the last space (so that it begins a word, as tokenizers have
    it), each in the second half first; else between two characters.
    """
    end, middle = begin + limit, begin + limit // 2
    for first, last in ((middle, end), (begin, middle)):
        line_end = data.rfind(b"\n", first, last)
        if line_end >= 0:
            return line_end + 1
        space = data.rfind(b" ", max(first, begin + 1), last + 1)
        if space >= 0:
            return space
    # A character has at most three bytes after its first; what has more is no UTF-8 anyway.
    return next((place for place in range(end, end - 4, -1) if data[place] & 0xC0 != 0x80), end)


def cut_text(text: str, limit: int) -> list[str]:
    """A text as pieces of at most ``limit`` bytes of UTF-8; joined they are the text.

    >>> cut_text("one two three four five", 16)
    ['one two three', ' four five']
    """
    data, begin, pieces = text.encode(), 0, []
    while len(data) - begin > limit:
        end = piece_end(data, begin, limit)
        pieces.append(data[begin:end].decode())
        begin = end
    return [*pieces, data[begin:].decode()]
