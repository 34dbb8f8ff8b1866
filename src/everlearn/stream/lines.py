r"""Lines of bytes out of files, compressed or not, in bounded memory. A line ends with ``\n`` only."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Literal

import zstandard

from everlearn.errors import InputError
from everlearn.stream.encodings import HEAD_BYTES, Recognised, decoding_of, encoding_before
from everlearn.stream.source import ChangedSourceError
from everlearn.types import Cursor, Json

__all__ = ["ChunkFile", "Compression", "LineScanner", "compression_of", "stem_of"]

Compression = Literal["none", "gzip", "zstd"]

_CHUNK_BYTES = 1 << 16
# One compressed byte can stand for 32 KiB, so a chunk of this size unfolds to 16 MiB at the worst.
_ZSTD_INPUT_BYTES = 512
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def compression_of(path: Path) -> Compression:
    """Compression by the last suffix of a path."""
    suffix = path.suffix.lower()
    return "gzip" if suffix == ".gz" else "zstd" if suffix == ".zst" else "none"


def stem_of(path: Path) -> str:
    """File name without the suffix of its format and of its compression."""
    name = path.name if compression_of(path) == "none" else path.name[: -len(path.suffix)]
    return Path(name).stem


class ChunkFile:
    r"""A file as chunks of UTF-8 bytes, decompressed by its suffix (``.gz``, ``.zst``).

    Another encoding, named, told by a byte order mark or recognised by the file's beginning, is turned into
    UTF-8; a byte that it does not know stays as it is, so that its line is not UTF-8 and is refused. Lines
    that end with ``\r`` only, in all of the first chunk, end with ``\n`` here.

    Args:
        path: The file.
        encoding: As Python names it; None: what the cursor or the beginning says.
        cursor: Where an earlier pass over the file stood; it holds the encoding that was recognised.
        lookahead_bytes: How far behind what was read ``digest`` is asked for; None: it is not.
        any_line_end: Whether lines may end with ``\\r`` only.

    Raises:
        InputError: The file cannot be opened, is no text, or its encoding cannot be told.
    """

    def __init__(
        self,
        path: Path,
        encoding: str | None = None,
        *,
        cursor: Cursor | None = None,
        lookahead_bytes: int | None = None,
        any_line_end: bool = False,
    ) -> None:
        self._path = path
        self.compression: Compression = compression_of(path)
        try:
            buffer_bytes = 0 if self.compression == "none" else _CHUNK_BYTES
            self._file: BinaryIO = open(path, "rb", buffering=buffer_bytes)  # noqa: SIM115
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"{path} cannot be opened: {reason}") from error
        self._gzip = gzip.GzipFile(fileobj=self._file) if self.compression == "gzip" else None
        self._zstd = _zstd_chunks(self._file) if self.compression == "zstd" else None
        self._hash = None if lookahead_bytes is None else hashlib.sha256()
        self._lookahead_bytes = (lookahead_bytes or 0) + 2 * _CHUNK_BYTES
        self._num_hashed = self._num_unhashed = 0
        self._unhashed: deque[bytes] = deque()
        self._failure: InputError | None = None
        self._is_read = False
        self._stored: deque[bytes] = deque()
        try:
            self._decoding = decoding_of(
                path,
                self._read_head() if encoding is None else b"",
                is_whole=self._is_read,
                encoding=encoding,
                resumes=_is_begun(cursor),
                before=encoding_before(cursor),
            )
        except InputError:
            self._file.close()
            raise
        try:
            first = self._next_decoded()
        except InputError as failure:  # told when it is read, with its place
            self._failure, first = failure, b""
        self._ends_lines_with_cr = any_line_end and b"\r" in first[:-1] and b"\n" not in first
        self._pending: bytes | None = first.replace(b"\r", b"\n") if self._ends_lines_with_cr else first

    @property
    def recognised(self) -> Recognised | None:
        """The encoding, where nobody named it and it is not UTF-8."""
        return self._decoding.recognised

    @property
    def is_seekable(self) -> bool:
        """Whether a place in it can be told by the bytes that were read."""
        return self.compression == "none" and self._decoding.is_plain

    def read(self) -> bytes:
        """The next chunk; empty at the end.

        Raises:
            InputError: The file is truncated or damaged here. All before it was returned.
        """
        if self._pending is not None:
            chunk, self._pending = self._pending, None
            if not chunk and self._failure is not None:
                raise self._failure
        else:
            chunk = self._next_decoded()
            if self._ends_lines_with_cr:
                chunk = chunk.replace(b"\r", b"\n")
        if self._hash is not None:
            self._keep(chunk)
        return chunk

    def skip(self, num_bytes: int) -> None:
        """Pass over what an earlier pass has read.

        Raises:
            ChangedSourceError: The file is shorter.
        """
        remaining = num_bytes
        while remaining:
            chunk = self.read()
            if not chunk:
                raise ChangedSourceError(
                    f"{self._path} ends before byte {num_bytes}, where reading stopped: another file?"
                )
            if len(chunk) > remaining:
                self._pending = chunk[remaining:]
                if self._hash is not None:
                    self._unhashed[-1] = chunk[:remaining]
                    self._num_unhashed -= len(self._pending)
                chunk = chunk[:remaining]
            remaining -= len(chunk)

    def digest(self, num_bytes: int) -> str | None:
        """A digest of the first bytes that were read; never of fewer than at the last call.

        None where more lies between them and what was read than was foreseen.
        """
        assert self._hash is not None, "lookahead_bytes"
        if num_bytes < self._num_hashed:
            return None
        while self._num_hashed < num_bytes:
            chunk = self._unhashed.popleft()
            part = chunk[: num_bytes - self._num_hashed]
            if len(part) < len(chunk):
                self._unhashed.appendleft(chunk[len(part) :])
            self._add(part)
        return self._hash.hexdigest()[:32]

    def seal(self, num_bytes: int) -> dict[str, Json]:
        """What a cursor behind so many bytes holds of the file beside its place."""
        digest = self.digest(num_bytes)
        sealed: dict[str, Json] = {} if digest is None else {"sha256": digest}
        return sealed if self.recognised is None else sealed | {"encoding": self.recognised.name}

    def _keep(self, chunk: bytes) -> None:
        """Keep a chunk until it is known how much of it counts, and no more than needed."""
        self._unhashed.append(chunk)
        self._num_unhashed += len(chunk)
        while self._num_unhashed - len(self._unhashed[0]) >= self._lookahead_bytes:
            self._add(self._unhashed.popleft())

    def _add(self, part: bytes) -> None:
        assert self._hash is not None
        self._hash.update(part)
        self._num_hashed += len(part)
        self._num_unhashed -= len(part)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _read_stored(self) -> bytes:
        try:
            if self._gzip is not None:
                return self._gzip.read1(_CHUNK_BYTES)
            if self._zstd is not None:
                return next(self._zstd, b"")
            return self._file.read(_CHUNK_BYTES)
        except (OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
            raise InputError(f"the file cannot be read any further: {error}") from error

    def _read_head(self) -> bytes:
        """The first chunks, which are read again after."""
        num_bytes = 0
        try:
            while num_bytes < HEAD_BYTES and not self._is_read:
                chunk = self._read_stored()
                self._is_read = not chunk
                self._stored.append(chunk)
                num_bytes += len(chunk)
        except InputError as failure:  # told when it is read, with its place
            self._failure = failure
        return b"".join(self._stored)

    def _next_stored(self) -> bytes:
        if self._stored:
            return self._stored.popleft()
        if self._failure is not None:
            raise self._failure
        return self._read_stored()

    def _next_decoded(self) -> bytes:
        """The next chunk in UTF-8; empty at the end only."""
        while True:
            chunk = self._next_stored()
            decoded = self._decoding.decode(chunk, final=not chunk)
            if decoded or not chunk:
                return decoded


def _is_begun(cursor: Cursor | None) -> bool:
    """Whether a cursor of a file stands behind its beginning."""
    return cursor is not None and any(cursor.get(key) for key in ("line", "offset", "value"))


def _zstd_chunks(file: BinaryIO) -> Iterator[bytes]:
    # The package's stream reader takes a truncated file for a complete one; this one does not.
    decompressor = zstandard.ZstdDecompressor()
    frame = None
    while packed := file.read(_ZSTD_INPUT_BYTES):
        while packed:
            frame = frame or decompressor.decompressobj()
            if chunk := frame.decompress(packed):
                yield chunk
            packed = frame.unused_data if frame.eof else b""
            if frame.eof:
                frame = None
    if frame is not None:
        raise EOFError("compressed file ended before the end of its last frame")


class LineScanner:
    """Cuts chunks into lines.

    Attributes:
        line: Lines returned so far: the number of the last one, counted from 1.
        offset: Bytes up to the end of the last line returned.
        oversized: Whether the last line was longer than allowed. It was then skipped in pieces, and
            only its beginning returned.

    Args:
        read_chunk: Gives the next bytes; empty at the end, None where there is nothing yet.
        max_bytes: Longest line allowed, without its end.
        place: What messages call the source.
    """

    def __init__(self, read_chunk: Callable[[], bytes | None], *, max_bytes: int, place: str) -> None:
        self.line = 0
        self.offset = 0
        self.oversized = False
        self._read_chunk = read_chunk
        self._max_bytes = max_bytes
        self._place = place
        self._buffer = b""
        self._begin = 0
        self._skipped_bytes = 0
        self._beginning = b""

    def read(self) -> bytes | None:
        r"""The next line with its ``\n`` (the last may have none); empty at the end; None: nothing yet.

        Raises:
            InputError: The chunks cannot be read any further.
        """
        end = self._buffer.find(b"\n", self._begin) + 1
        while not end:
            self._shed()
            try:
                chunk = self._read_chunk()
            except InputError as error:
                raise InputError(f"{self._place}:{self.line + 1}: {error}") from error
            if chunk is None:
                return None
            searched = len(self._buffer)
            self._buffer += chunk
            end = self._buffer.find(b"\n", searched) + 1 if chunk else len(self._buffer)
            if not chunk:
                if not end and not self._skipped_bytes:
                    return b""
                break
        line = self._buffer[self._begin : end]
        self._begin = end
        return self._finish(line)

    def skip_lines(self, num_lines: int) -> None:
        """Pass over lines read in an earlier pass.

        Raises:
            InputError: There are fewer.
        """
        while self.line < num_lines:
            if not self.read():
                raise ChangedSourceError(
                    f"{self._place} ends before line {num_lines}, where reading stopped: another file?"
                )

    def _shed(self) -> None:
        # Drops what was returned and, of a line already too long, all but its beginning.
        self._buffer = self._buffer[self._begin :]
        self._begin = 0
        if len(self._buffer) > self._max_bytes + 1 or (self._skipped_bytes and self._buffer):
            self._beginning = self._beginning or self._buffer[:1024]
            self._skipped_bytes += len(self._buffer)
            self._buffer = b""

    def _finish(self, line: bytes) -> bytes:
        self.line += 1
        self.offset += self._skipped_bytes + len(line)
        if self._skipped_bytes:
            line, self._beginning, self._skipped_bytes = self._beginning, b"", 0
            self.oversized = True
        elif len(line) > self._max_bytes:
            self.oversized = len(line.removesuffix(b"\n").removesuffix(b"\r")) > self._max_bytes
        else:
            self.oversized = False
        if self.line == 1 and line.startswith(_BYTE_ORDER_MARK):
            # What is left of a file that holds nothing else must not look like its end.
            line = line[len(_BYTE_ORDER_MARK) :] or b"\n"
        return line
