"""Text files and long records as documents for language models, in pieces of bounded size."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path

from everlearn.document_piece import DocumentPiece
from everlearn.errors import InputError
from everlearn.stream.batches import BatchReader
from everlearn.stream.excerpt import excerpt_of
from everlearn.stream.files.line_files import check_digest, cursor_number
from everlearn.stream.lines import ChunkFile, stem_of
from everlearn.stream.notes import ReadingNotes
from everlearn.stream.pieces import PieceScanner, Place, RawPiece
from everlearn.stream.source import DocumentConfig, Rejection, SourceConfig
from everlearn.types import Cursor, Example

__all__ = ["DocumentsSource", "document_reader", "is_document_cursor", "piece_id"]

ReadChunk = Callable[[], bytes | None]


class DocumentsSource:
    """A text file as documents, plain or compressed (``.gz``, ``.zst``); see ``DocumentConfig``.

    A file larger than memory is no problem, nor is a document: a few pieces are held at a time. Pieces
    that are not UTF-8 or hold NUL are passed over; the rest of their document stays together. The cursor
    counts bytes, those of a compressed file once unpacked.

    Args:
        path: The file.
        config: Documents, strictness.
    """

    def __init__(self, path: Path, config: SourceConfig) -> None:
        self.name = path.name
        self.notes = ReadingNotes(path.name)
        self._path = path
        self._config = config

    def open(self, cursor: Cursor | None = None) -> BatchReader:
        """See Source."""
        offset = 0 if cursor is None else cursor_number(cursor, "offset", self.name)
        documents = self._config.documents or DocumentConfig()
        file = ChunkFile(
            self._path,
            self._config.encoding,
            cursor=cursor,
            lookahead_bytes=4 * documents.max_piece_bytes,
        )
        self.notes.encoding(file.recognised)
        try:
            file.skip(offset)
            check_digest(file, offset, cursor, self._path)
            return document_reader(
                file.read,
                self._config,
                name=self.name,
                stem=stem_of(self._path),
                cursor=cursor,
                close=file.close,
                seal=file.seal,
            )
        except InputError:
            file.close()
            raise

    def count(self) -> int | None:
        """None: only reading tells."""
        return None


def document_reader(
    read_chunk: ReadChunk,
    config: SourceConfig,
    *,
    name: str,
    stem: str,
    cursor: Cursor | None,
    close: Callable[[], None],
    seal: Callable[[int], Cursor] | None = None,
) -> BatchReader:
    """A reader of documents.

    Args:
        read_chunk: Gives the bytes behind the cursor; empty at the end, None where there is nothing yet.
        config: Documents, strictness.
        name: The source's name, for the places of rejections.
        stem: Begins the ids.
        cursor: Where the chunks begin.
        close: Called when the reader is closed.
        seal: What cursors hold of the bytes before a place.

    Raises:
        InputError: The cursor is not one of documents.
    """
    documents = config.documents or DocumentConfig()
    records = _DocumentRecords(read_chunk, documents, name, stem, cursor, close, seal)
    return BatchReader(records, strict=config.strict)


def is_document_cursor(cursor: Cursor) -> bool:
    """Whether a cursor is one of a reader of documents."""
    return "document" in cursor


def piece_id(document: str, part: int) -> str:
    """The id of a piece; a document's first piece has the document's."""
    return f"{document}#{part}" if part else document


class _DocumentRecords:
    # Whether a piece is its document's last is known once it is known that no sound piece follows. So a
    # piece is held back until one does, or the document ends.

    def __init__(
        self,
        read_chunk: ReadChunk,
        config: DocumentConfig,
        name: str,
        stem: str,
        cursor: Cursor | None,
        close: Callable[[], None],
        seal: Callable[[int], Cursor] | None,
    ) -> None:
        self._seal = seal
        place, self._part = (Place(), 0) if cursor is None else _place_of(cursor, name)
        self._scanner = PieceScanner(read_chunk, config, name, place)
        self._name = name
        self._stem = stem
        self._close = close
        self._last_piece: tuple[RawPiece, str] | None = None
        self._unsound: _Unsound | None = None
        self._ready: deque[tuple[Example | Rejection, Cursor]] = deque()
        self._cursor = _cursor_at(place, self._part)
        self._failure: InputError | None = None

    def read(self) -> Example | Rejection | None:
        """See Records."""
        while not self._ready:
            if self._failure is not None:
                raise self._failure
            try:
                piece = self._scanner.read()
            except InputError as error:
                self._failure = error
                self._release(is_last=False)
                continue
            if piece is None:
                return None
            self._take(piece)
        entry, self._cursor = self._ready.popleft()
        return entry

    def cursor(self) -> Cursor:
        """See Records."""
        sealed = {} if self._seal is None else self._seal(int(self._cursor["offset"]))
        return {**self._cursor, **sealed}

    def close(self) -> None:
        """See Records."""
        self._close()

    def _take(self, piece: RawPiece) -> None:
        try:
            text = piece.data.decode()
            bad_at, reason = piece.data.find(b"\0"), "holds NUL characters: binary data?"
        except UnicodeDecodeError as error:
            text, bad_at, reason = "", error.start, "not UTF-8, or not as the rest is encoded"
        if bad_at >= 0:
            if self._unsound is None:
                self._unsound = _Unsound(piece, bad_at, reason)
            else:
                self._unsound.add(piece)
        else:
            self._release(is_last=False)
            self._last_piece = piece, text
        if piece.is_last:
            self._release(is_last=True)
            self._part = 0

    def _release(self, *, is_last: bool) -> None:
        if self._last_piece is not None:
            piece, text = self._last_piece
            document = f"{self._stem}:{piece.number}"
            example = DocumentPiece(document, self._part, is_last).put_on(
                Example(id=piece_id(document, self._part), text=text)
            )
            self._part += 1
            self._ready.append((example, self._cursor_after(piece)))
            self._last_piece = None
        if self._unsound is not None:
            rejection = self._unsound.rejection(self._name)
            self._ready.append((rejection, self._cursor_after(self._unsound.piece)))
            self._unsound = None

    def _cursor_after(self, piece: RawPiece) -> Cursor:
        return _cursor_at(piece.after, self._part if piece.after.is_inside else 0)


class _Unsound:
    # Pieces in a row that are no text: one rejection, however many there are.

    def __init__(self, piece: RawPiece, bad_at: int, reason: str) -> None:
        self.piece = piece
        self._line = piece.line + piece.data.count(b"\n", 0, bad_at)
        self._reason = reason
        self._excerpt = excerpt_of(piece.data[piece.data.rfind(b"\n", 0, bad_at) + 1 :].partition(b"\n")[0])
        self._num_bytes = len(piece.data)

    def add(self, piece: RawPiece) -> None:
        self.piece = piece
        self._num_bytes += len(piece.data)

    def rejection(self, name: str) -> Rejection:
        reason = f"{self._reason}; {self._num_bytes:,} bytes of document {self.piece.number} are passed over"
        return Rejection(f"{name}:{self._line}", reason, self._excerpt)


def _cursor_at(place: Place, part: int) -> Cursor:
    return {
        "document": place.document,
        "part": part,
        "line": place.line,
        "offset": place.offset,
        "inside": place.is_inside,
    }


def _place_of(cursor: Cursor, name: str) -> tuple[Place, int]:
    document, part, line, offset = (
        cursor_number(cursor, key, name) for key in ("document", "part", "line", "offset")
    )
    return Place(document, line, offset, cursor.get("inside") is True), part
