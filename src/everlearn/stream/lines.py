r"""Lines of bytes out of files, compressed or not, in bounded memory. A line ends with ``\n`` only."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Literal

import zstandard

from everlearn.errors import InputError

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
    """A file as chunks of bytes, decompressed by its suffix (``.gz``, ``.zst``).

    Args:
        path: The file.
        offset: Where to begin, in bytes; only where the file is not compressed.

    Raises:
        InputError: The file cannot be opened, or ends before ``offset``.
    """

    def __init__(self, path: Path, offset: int = 0) -> None:
        self._path = path
        self.compression: Compression = compression_of(path)
        try:
            buffer_bytes = 0 if self.compression == "none" else _CHUNK_BYTES
            self._file: BinaryIO = open(path, "rb", buffering=buffer_bytes)  # noqa: SIM115
            if offset:
                if os.fstat(self._file.fileno()).st_size < offset:
                    self._file.close()
                    raise InputError(
                        f"{path} ends before byte {offset}, where reading stopped: another file?"
                    )
                self._file.seek(offset)
        except OSError as error:
            raise InputError(f"{path} cannot be opened: {error.strerror or error}") from error
        self._gzip = gzip.GzipFile(fileobj=self._file) if self.compression == "gzip" else None
        self._zstd = _zstd_chunks(self._file) if self.compression == "zstd" else None

    def read(self) -> bytes:
        """The next chunk; empty at the end.

        Raises:
            InputError: The file is truncated or damaged here. All before it was returned.
        """
        try:
            if self._gzip is not None:
                return self._gzip.read1(_CHUNK_BYTES)
            if self._zstd is not None:
                return next(self._zstd, b"")
            return self._file.read(_CHUNK_BYTES)
        except (OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
            raise InputError(f"the file cannot be read any further: {error}") from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()


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
                raise InputError(
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
