"""Files of one record a line: JSON lines and plain text."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from everlearn.errors import InputError
from everlearn.stream.batches import BatchReader
from everlearn.stream.lines import ChunkFile, LineScanner, stem_of
from everlearn.stream.mapping import RecordError, RecordMapper, excerpt_of
from everlearn.stream.source import EndOfStream, Rejection, SourceConfig
from everlearn.types import Cursor, Example, Json

__all__ = [
    "JsonLinesSource",
    "LineParser",
    "LineRecords",
    "TextLinesSource",
    "count_lines",
    "cursor_number",
    "json_parser",
    "text_parser",
]

LineParser = Callable[[bytes, int], Example]
"""Makes an example of a line and its number, or raises RecordError."""

# Counting lines is worth it where it takes a fraction of a second.
_MAX_COUNTED_FILE_BYTES = {"none": 1 << 28, "gzip": 1 << 24, "zstd": 1 << 24}
_MAX_COUNTED_BYTES = 1 << 28


def _refuse_constant(name: str) -> NoReturn:
    raise RecordError(f"not JSON: {name} is no JSON value")


def json_parser(mapper: RecordMapper) -> LineParser:
    """A parser of lines that are each one JSON object."""
    decode = json.JSONDecoder(parse_constant=_refuse_constant).decode

    def parse(line: bytes, number: int) -> Example:
        try:
            record = decode(line.decode())
        except UnicodeDecodeError as error:
            raise RecordError(f"not UTF-8: byte {error.start + 1} of the line") from None
        except json.JSONDecodeError as error:
            raise RecordError(f"not JSON: {error.msg} at column {error.colno}") from None
        except RecursionError:
            raise RecordError("not usable JSON: nested too deep") from None
        except RecordError:
            raise
        except ValueError as error:
            raise RecordError(f"not usable JSON: {error}") from None
        if type(record) is not dict:
            raise RecordError(f"not a JSON object but {_json_kind(record)}")
        return mapper.example(record, number)

    return parse


def _json_kind(value: Json) -> str:
    if isinstance(value, list):
        return "a list; write one object a line"
    if isinstance(value, str):
        return "a string"
    return "null" if value is None else "a boolean" if isinstance(value, bool) else "a number"


def text_parser(mapper: RecordMapper, text_field: str) -> LineParser:
    """A parser of lines that are each one text without target."""

    def parse(line: bytes, number: int) -> Example:
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            raise RecordError(f"not UTF-8: byte {error.start + 1} of the line") from None
        return mapper.example({text_field: text.removesuffix("\n").removesuffix("\r")}, number)

    return parse


class LineRecords:
    """The records of a scanner's lines; blank lines are no records.

    Args:
        scanner: Where the lines come from.
        parse: What makes examples of them.
        name: The source's name, for the places of rejections.
        max_record_bytes: Named in the reason of lines that are too long.
        seekable: Whether the cursor holds the byte offset beside the line number.
        close: Called by ``close``.
    """

    def __init__(
        self,
        scanner: LineScanner,
        parse: LineParser,
        *,
        name: str,
        max_record_bytes: int,
        seekable: bool,
        close: Callable[[], None],
    ) -> None:
        self._scanner = scanner
        self._parse = parse
        self._name = name
        self._max_record_bytes = max_record_bytes
        self._seekable = seekable
        self._close = close

    def read(self) -> Example | Rejection | None:
        """See Records."""
        scanner = self._scanner
        while True:
            line = scanner.read()
            if not line:
                if line is None:
                    return None
                raise EndOfStream
            if scanner.oversized:
                reason = f"longer than {self._max_record_bytes:,} bytes"
            elif line.isspace():
                continue
            else:
                try:
                    return self._parse(line, scanner.line)
                except RecordError as error:
                    reason = str(error)
            return Rejection(f"{self._name}:{scanner.line}", reason, excerpt_of(line))

    def cursor(self) -> Cursor:
        """See Records."""
        if self._seekable:
            return {"line": self._scanner.line, "offset": self._scanner.offset}
        return {"line": self._scanner.line}

    def close(self) -> None:
        """See Records."""
        self._close()


def cursor_number(cursor: Cursor, key: str, name: str) -> int:
    """A number of a cursor.

    Raises:
        InputError: It is missing or no count; the cursor belongs to another kind of source.
    """
    value = cursor.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InputError(f"{name}: the cursor {dict(cursor)!r} is not one of this source: no number {key!r}")
    return value


def open_lines(path: Path, config: SourceConfig, cursor: Cursor | None) -> tuple[LineScanner, ChunkFile]:
    """A scanner of a file that stands where the cursor says."""
    line = offset = 0
    if cursor is not None:
        line = cursor_number(cursor, "line", path.name)
        if "offset" in cursor:
            offset = cursor_number(cursor, "offset", path.name)
    file = ChunkFile(path, offset)
    scanner = LineScanner(file.read, max_bytes=config.max_record_bytes, place=str(path))
    try:
        if offset:
            scanner.line, scanner.offset = line, offset
        else:
            scanner.skip_lines(line)
    except InputError:
        file.close()
        raise
    return scanner, file


def count_lines(path: Path, *, unless_containing: bytes | None = None) -> int | None:
    """Lines of a file, or None where counting would take long.

    Args:
        path: The file.
        unless_containing: Give None where the file holds these bytes.
    """
    try:
        file = ChunkFile(path)
    except InputError:
        return None
    try:
        if path.stat().st_size > _MAX_COUNTED_FILE_BYTES[file.compression]:
            return None
        num_bytes = num_lines = 0
        last = b"\n"
        while chunk := file.read():
            num_bytes += len(chunk)
            if num_bytes > _MAX_COUNTED_BYTES or (unless_containing and unless_containing in chunk):
                return None
            num_lines += chunk.count(b"\n")
            last = chunk[-1:]
        return num_lines + (last != b"\n")
    except InputError:
        return None
    finally:
        file.close()


class _LineFile:
    # What the two kinds of line file share; only the parser differs.

    def __init__(self, path: Path, config: SourceConfig, parse: LineParser) -> None:
        self.name = path.name
        self._path = path
        self._config = config
        self._parse = parse

    def open(self, cursor: Cursor | None = None) -> BatchReader:
        """See Source."""
        scanner, file = open_lines(self._path, self._config, cursor)
        records = LineRecords(
            scanner,
            self._parse,
            name=self.name,
            max_record_bytes=self._config.max_record_bytes,
            seekable=file.compression == "none",
            close=file.close,
        )
        return BatchReader(records, strict=self._config.strict)

    def count(self) -> int | None:
        """Lines, blank ones included; None for large files."""
        return count_lines(self._path)


class JsonLinesSource(_LineFile):
    """A file of one JSON object a line, plain or compressed (``.gz``, ``.zst``).

    Args:
        path: The file.
        config: Names of fields, strictness, longest line.
    """

    def __init__(self, path: Path, config: SourceConfig) -> None:
        super().__init__(path, config, json_parser(RecordMapper(config.fields, stem_of(path))))


class TextLinesSource(_LineFile):
    """A file of one text a line, without targets, plain or compressed (``.gz``, ``.zst``).

    Args:
        path: The file.
        config: Strictness, longest line.
    """

    def __init__(self, path: Path, config: SourceConfig) -> None:
        mapper = RecordMapper(config.fields, stem_of(path))
        super().__init__(path, config, text_parser(mapper, config.fields.text))
