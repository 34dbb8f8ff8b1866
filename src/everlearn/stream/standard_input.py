"""Standard input, or any open file descriptor, as a live source."""

from __future__ import annotations

import os
import queue
import re
import stat
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from everlearn.errors import InputError
from everlearn.stream.batches import BatchReader
from everlearn.stream.documents import document_reader, is_document_cursor
from everlearn.stream.encodings import MARK_BYTES, Decoding, marked_encoding
from everlearn.stream.files.line_files import LineParser, LineRecords, cursor_number, json_parser, text_parser
from everlearn.stream.lines import LineScanner
from everlearn.stream.live_documents import LiveDocumentsReader
from everlearn.stream.mapping import RecordMapper
from everlearn.stream.pieced import PiecedReader, inner_cursor
from everlearn.stream.source import DocumentConfig, SourceConfig, SourceReader
from everlearn.types import Cursor, Example

__all__ = ["StandardInputSource"]

_COLUMN = re.compile(r"[\w.-]{1,40}")
_CHUNK_BYTES = 1 << 16
_MAX_WAITING_CHUNKS = 16


class StandardInputSource:
    """Lines from standard input: JSON objects where they begin with ``{``, plain texts elsewhere.

    ``next_batch`` gives what has arrived, after waiting ``patience_seconds`` at most for the batch to
    fill. A pipe cannot be read again: a reader opened from a cursor goes on counting lines (and so
    making ids) where the cursor stands, and reads what comes next. Where standard input is a file
    (``< FILE``), it begins after the last example returned, as for any file.

    With ``config.documents`` what arrives is looked at first: if it begins with a JSON object, lines are
    read as above and long texts cut into pieces; if not, all of it is documents. A piece comes once it
    is full or its document ends. A record of a pipe that was being cut when its reader was closed is
    not gone on with.

    It is UTF-8, unless ``config.encoding`` or a byte order mark says otherwise; what comes live is not looked
    at further.

    One reader at a time: what one has taken from the pipe, no other gets.

    Args:
        config: Names of fields, strictness, longest line.
        descriptor: The file descriptor; by default that of standard input.
        path: A named pipe to read instead; opened when reading begins, which waits for its writer.
        patience_seconds: How long ``next_batch`` waits at most.
    """

    def __init__(
        self,
        config: SourceConfig,
        *,
        descriptor: int | None = None,
        path: Path | None = None,
        patience_seconds: float = 0.05,
    ) -> None:
        self.name = "stdin" if path is None else path.name
        self._path = path
        self._config = config
        self._descriptor = descriptor
        self._patience_seconds = patience_seconds

    def open(self, cursor: Cursor | None = None) -> SourceReader:
        """See Source."""
        try:
            descriptor = self._open_descriptor()
            is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        except (OSError, ValueError, AttributeError) as error:
            raise InputError(f"{self._called} cannot be read: {error}") from error
        if self._config.documents is not None:
            return self._open_documents(self._config.documents, descriptor, is_file, cursor)
        offset = cursor_number(cursor, "offset", self.name) if is_file and cursor is not None else 0
        line = 0 if cursor is None else cursor_number(cursor, "line", self.name)
        chunks = self._chunks(descriptor, offset if is_file else None)
        return self._line_reader(chunks.read, line, offset, is_file, chunks.close)

    def _chunks(self, descriptor: int, offset: int | None) -> _Utf8Chunks:
        """What arrives, in UTF-8; of a file, what comes behind a place in its UTF-8."""
        encoding = self._config.encoding
        if offset is not None:
            try:
                encoding = encoding or marked_encoding(os.pread(descriptor, MARK_BYTES, 0))
            except OSError as error:
                raise InputError(f"{self._called} cannot be read: {error}") from error
        is_known = encoding is not None or offset is not None
        decoding = Decoding(encoding) if is_known else None
        start, skipped = offset, 0
        if offset is not None and decoding is not None and not decoding.is_plain:
            start, skipped = 0, offset  # a place in its UTF-8 is none in the file
        waiting = _WaitingChunks(descriptor, self._patience_seconds, start)
        return _Utf8Chunks(waiting, decoding, skipped)

    @property
    def _called(self) -> str:
        return "standard input" if self._path is None else str(self._path)

    def _open_descriptor(self) -> int:
        if self._path is not None:
            return os.open(self._path, os.O_RDONLY)
        return sys.stdin.fileno() if self._descriptor is None else self._descriptor

    def _open_documents(
        self, documents: DocumentConfig, descriptor: int, is_file: bool, cursor: Cursor | None
    ) -> SourceReader:
        was_json = not is_document_cursor(cursor) if cursor else None
        inner: Cursor = {"line": 0, "offset": 0}
        if cursor and was_json:
            # A pipe does not give again what was being cut.
            cursor = cursor if is_file else {"after": cursor.get("after")}
            inner = inner_cursor(cursor, self.name) or inner
        begun = inner if was_json or not cursor else cursor
        offset = cursor_number(begun, "offset", self.name) if is_file else 0
        line = cursor_number(begun, "line", self.name)
        chunks = self._chunks(descriptor, offset if is_file else None)

        def make_reader(is_json: bool, read_chunk: Callable[[], bytes | None]) -> SourceReader:
            if is_json:
                lines = self._line_reader(read_chunk, line, offset, is_file, chunks.close)
                limit, messages = documents.max_piece_bytes, self._config.fields.messages
                return PiecedReader(lines, limit, messages, self.name, cursor or None)
            return document_reader(
                read_chunk,
                self._config,
                name=self.name,
                stem=self.name,
                cursor=cursor or None,
                close=chunks.close,
            )

        if was_json is not None and is_file:
            return make_reader(was_json, chunks.read)
        return LiveDocumentsReader(
            chunks.read, make_reader, cursor=cursor, was_json=was_json, name=self.name, close=chunks.close
        )

    def _line_reader(
        self,
        read_chunk: Callable[[], bytes | None],
        line: int,
        offset: int,
        is_file: bool,
        close: Callable[[], None],
    ) -> BatchReader:
        scanner = LineScanner(read_chunk, max_bytes=self._config.max_record_bytes, place=self.name)
        scanner.line, scanner.offset = line, offset
        records = LineRecords(
            scanner,
            _either_parser(self._config, self.name),
            name=self.name,
            max_record_bytes=self._config.max_record_bytes,
            place=_offset_and_line if is_file else _line,
            close=close,
        )
        return BatchReader(records, strict=self._config.strict)

    def count(self) -> int | None:
        """None: nobody knows."""
        return None


def _offset_and_line(line: int, offset: int) -> Cursor:
    return {"line": line, "offset": offset}


def _line(line: int, _: int) -> Cursor:
    return {"line": line}


def _either_parser(config: SourceConfig, stem: str) -> LineParser:
    mapper = RecordMapper(config.fields, stem)
    parse_json, parse_text = json_parser(mapper), text_parser(mapper, config.fields)

    def parse(line: bytes, number: int) -> Example:
        if number == 1 and (kind := _other_format(line, config.fields.text)):
            raise InputError(f"{stem} begins like {kind}")
        return parse_json(line, number) if line.lstrip().startswith(b"{") else parse_text(line, number)

    return parse


def _other_format(line: bytes, text_field: str) -> str | None:
    """What a first line says of input that is neither JSON lines nor plain text, and what helps."""
    start = line.removeprefix(b"\xef\xbb\xbf").strip()
    if start.startswith(b"[") and start[1:].lstrip()[:1] in (b"", b"{"):
        return (
            "a list of JSON objects; write one object a line (jq -c '.[]' does), or give it as a .json file"
        )
    text = start.decode(errors="replace")
    for delimiter in (",", ";", "\t"):
        names = [cell.strip(' "') for cell in text.split(delimiter)]
        if len(names) > 1 and text_field in names and all(map(_COLUMN.fullmatch, names)):
            return "the header of a table; give it as a .csv file, or write JSON lines"
    return None


class _Utf8Chunks:
    """Chunks in UTF-8.

    Args:
        chunks: As they arrive.
        decoding: Makes UTF-8 of them; None: as a byte order mark says.
        skipped: Bytes of UTF-8 that are passed over.
    """

    def __init__(self, chunks: _WaitingChunks, decoding: Decoding | None, skipped: int) -> None:
        self._chunks = chunks
        self._decoding = decoding
        self._skipped = skipped
        self._head = b""
        self._is_over = False

    def read(self) -> bytes | None:
        """The next chunk; empty at the end; None once the patience is used up."""
        while not self._is_over:
            chunk = self._chunks.read()
            if chunk is None:
                return None
            self._is_over = not chunk
            if self._decoding is None:
                self._head += chunk
                if len(self._head) < MARK_BYTES and not self._is_over:
                    continue
                self._decoding = Decoding(marked_encoding(self._head))
                chunk, self._head = self._head, b""
            found = self._decoding.decode(chunk, final=self._is_over)
            passed = min(self._skipped, len(found))
            self._skipped -= passed
            if len(found) > passed:
                return found[passed:]
        return b""

    def close(self) -> None:
        """See _WaitingChunks."""
        self._chunks.close()


class _WaitingChunks:
    # A thread waits for bytes so that the reader need not; the queue's bound is the memory's bound. A
    # file is read by place: its position belongs to the descriptor, which a closed reader's thread may
    # still be moving. The thread has a descriptor of its own: the number of one that others close may be
    # given to another file while it waits, whose bytes it would take.

    def __init__(self, descriptor: int, patience_seconds: float, offset: int | None) -> None:
        self._queue: queue.Queue[bytes | OSError] = queue.Queue(_MAX_WAITING_CHUNKS)
        self._patience_seconds = patience_seconds
        self._deadline: float | None = None
        self._offset = offset
        self._is_closed = False
        self._is_over = False
        self._thread = threading.Thread(
            target=self._pump_all, args=(os.dup(descriptor),), name="everlearn-stdin", daemon=True
        )
        self._thread.start()

    def _pump_all(self, descriptor: int) -> None:
        try:
            self._pump(descriptor)
        finally:
            os.close(descriptor)

    def _pump(self, descriptor: int) -> None:
        chunk: bytes | OSError = b"."
        while chunk and not self._is_closed:
            try:
                chunk = self._read(descriptor)
            except OSError as error:
                chunk = error
            while not self._is_closed:
                try:
                    self._queue.put(chunk, timeout=0.1)
                    break
                except queue.Full:
                    continue
            if isinstance(chunk, OSError):
                return

    def _read(self, descriptor: int) -> bytes:
        if self._offset is None:
            return os.read(descriptor, _CHUNK_BYTES)
        chunk = os.pread(descriptor, _CHUNK_BYTES, self._offset)
        self._offset += len(chunk)
        return chunk

    def read(self) -> bytes | None:
        """The next chunk; empty at the end; None once the patience is used up."""
        if self._is_over:
            return b""
        try:
            chunk = self._queue.get_nowait()
        except queue.Empty:
            now = time.monotonic()
            if self._deadline is None:
                self._deadline = now + self._patience_seconds
            try:
                chunk = self._queue.get(timeout=max(self._deadline - now, 0.0))
            except queue.Empty:
                self._deadline = None
                return None
        if isinstance(chunk, OSError):
            raise InputError(f"standard input cannot be read any further: {chunk}") from chunk
        self._is_over = not chunk
        return chunk

    def close(self) -> None:
        """Let the thread end; it cannot be woken while it waits for bytes."""
        self._is_closed = True
