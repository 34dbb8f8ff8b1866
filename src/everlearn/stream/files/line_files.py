"""Files of one record a line: JSON lines and plain text."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NoReturn

from everlearn.errors import InputError
from everlearn.stream.batches import BatchReader
from everlearn.stream.excerpt import excerpt_of
from everlearn.stream.lines import ChunkFile, LineScanner, stem_of
from everlearn.stream.mapping import RecordMapper
from everlearn.stream.notes import ReadingNotes
from everlearn.stream.records.labels import fasttext_parts, one_label
from everlearn.stream.records.record_error import RecordError
from everlearn.stream.source import ChangedSourceError, EndOfStream, FieldNames, Rejection, SourceConfig
from everlearn.types import Cursor, Example, Json

__all__ = [
    "JsonLinesSource",
    "LineParser",
    "LineRecords",
    "TextLinesSource",
    "check_digest",
    "check_record",
    "count_lines",
    "cursor_number",
    "finite_number",
    "json_parser",
    "line_cursor",
    "not_text",
    "open_lines",
    "refuse_constant",
    "text_parser",
]

LineParser = Callable[[bytes, int], Example]
"""Makes an example of a line and its number, or raises RecordError."""

# Counting lines is worth it where it takes a fraction of a second.
_MAX_COUNTED_FILE_BYTES = {"none": 1 << 28, "gzip": 1 << 24, "zstd": 1 << 24}
_MAX_COUNTED_BYTES = 1 << 28


def refuse_constant(name: str) -> NoReturn:
    """Refuse NaN and the infinities, which JSON does not have."""
    raise RecordError(f"not JSON: {name} is no JSON value")


def finite_number(digits: str) -> float:
    """The number that digits spell; one beyond what a double can hold would come out as infinity."""
    number = float(digits)
    if math.isinf(number):
        raise RecordError(f"not usable JSON: the number {digits[:40]} is beyond what a double can hold")
    return number


def not_text(index: int) -> str:
    """Why a line cannot be used that holds a byte, at an index, that is no text."""
    return (
        f"not UTF-8, or not as the rest of the file is encoded: byte {index + 1} of the line; convert the "
        "file to one encoding, or name it (--encoding, for example cp1252)"
    )


def json_parser(mapper: RecordMapper) -> LineParser:
    """A parser of lines that are each one JSON object."""
    decode = json.JSONDecoder(parse_constant=refuse_constant, parse_float=finite_number).decode

    def parse(line: bytes, number: int) -> Example:
        try:
            record = decode(line.decode())
        except UnicodeDecodeError as error:
            raise RecordError(not_text(error.start)) from None
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
        if b"\\ud" in line or b"\\uD" in line:  # only an escape can spell half a surrogate pair
            check_record(record)
        return mapper.example(record, number)

    return parse


def check_record(record: dict[str, Json]) -> None:
    """Make sure that every name and value of a record can be encoded; raises RecordError where one cannot."""
    try:
        json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        bad = next((name for name, value in record.items() if not _is_encodable({name: value})), "")
        raise RecordError(f"field {bad!a} is not valid Unicode: half a surrogate pair") from None


def _is_encodable(value: Json) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _json_kind(value: Json) -> str:
    if isinstance(value, list):
        return "a list; write one object a line"
    if isinstance(value, str):
        return "a string"
    return "null" if value is None else "a boolean" if isinstance(value, bool) else "a number"


def text_parser(mapper: RecordMapper, fields: FieldNames) -> LineParser:
    """A parser of lines that are each one text; where targets are labels, lines of fastText name theirs."""

    def parse(line: bytes, number: int) -> Example:
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            raise RecordError(not_text(error.start)) from None
        text = text.removesuffix("\n").removesuffix("\r")
        found = fasttext_parts(text) if fields.target_is_label else None
        if found is None:
            return mapper.example({fields.text: text}, number)
        labels, text = found
        label: Json = None
        if fields.several_labels:
            label = labels
        elif not fields.lenient_target:
            label = one_label(labels)
        return mapper.example({fields.text: text, mapper.target_name: label}, number)

    return parse


class LineRecords:
    """The records of a scanner's lines; blank lines are no records.

    Args:
        scanner: Where the lines come from.
        parse: What makes examples of them.
        name: The source's name, for the places of rejections.
        max_record_bytes: Named in the reason of lines that are too long.
        place: Makes a cursor of a number of lines and of bytes.
        close: Called by ``close``.
    """

    def __init__(
        self,
        scanner: LineScanner,
        parse: LineParser,
        *,
        name: str,
        max_record_bytes: int,
        place: Callable[[int, int], Cursor],
        close: Callable[[], None],
    ) -> None:
        self._scanner = scanner
        self._parse = parse
        self._name = name
        self._max_record_bytes = max_record_bytes
        self._place = place
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
        return self._place(self._scanner.line, self._scanner.offset)

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


def open_lines(
    path: Path,
    config: SourceConfig,
    cursor: Cursor | None,
    *,
    lookahead_bytes: int = 0,
    seen: Cursor | None = None,
) -> tuple[LineScanner, ChunkFile]:
    """A scanner of a file that stands where the cursor says.

    Args:
        path: The file.
        config: Its encoding, the longest line.
        cursor: Where to go on; None: the beginning.
        lookahead_bytes: How far the scanner may be ahead of the places that cursors are made of.
        seen: A cursor that tells the encoding, where it is not the one to go on at.

    Raises:
        ChangedSourceError: What lies before the cursor is not what was read then.
        InputError: The file cannot be read, or the cursor is not one of it.
    """
    line = offset = 0
    if cursor is not None:
        line = cursor_number(cursor, "line", path.name)
        if "offset" in cursor:
            offset = cursor_number(cursor, "offset", path.name)
    file = ChunkFile(path, config.encoding, cursor=cursor, lookahead_bytes=lookahead_bytes, any_line_end=True)
    scanner = LineScanner(file.read, max_bytes=config.max_record_bytes, place=str(path))
    try:
        if offset:
            file.skip(offset)
            scanner.line, scanner.offset = line, offset
        else:
            scanner.skip_lines(line)
        check_digest(file, scanner.offset, cursor, path)
    except InputError:
        file.close()
        raise
    return scanner, file


def line_cursor(file: ChunkFile, line: int, offset: int) -> Cursor:
    """A place in a file of lines.

    Args:
        file: The file.
        line: Lines before it.
        offset: Bytes before it, as the file's chunks are read.
    """
    cursor: dict[str, Json] = {"line": line, "offset": offset} if file.is_seekable else {"line": line}
    return cursor | file.seal(offset)


def check_digest(file: ChunkFile, num_bytes: int, cursor: Cursor | None, path: Path) -> None:
    """Compare what was passed over with what was read when a cursor was made; an older cursor says nothing.

    Raises:
        ChangedSourceError: It is something else.
    """
    if cursor is not None and cursor.get("sha256", found := file.digest(num_bytes)) != found:
        raise ChangedSourceError(f"{path} was changed before byte {num_bytes:,}, where reading stopped")


def count_lines(
    path: Path, encoding: str | None = None, *, unless_containing: bytes | None = None
) -> int | None:
    """Lines of a file, or None where counting would take long.

    Args:
        path: The file.
        encoding: See ``ChunkFile``.
        unless_containing: Give None where the file holds these bytes.
    """
    try:
        file = ChunkFile(path, encoding, any_line_end=True)
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

    def __init__(self, path: Path, config: SourceConfig, parse: LineParser, notes: ReadingNotes) -> None:
        self.name = path.name
        self.notes = notes
        self._path = path
        self._config = config
        self._parse = parse

    def open(self, cursor: Cursor | None = None) -> BatchReader:
        """See Source."""
        scanner, file = open_lines(self._path, self._config, cursor)
        self.notes.encoding(file.recognised)
        records = LineRecords(
            scanner,
            self._parse,
            name=self.name,
            max_record_bytes=self._config.max_record_bytes,
            place=partial(line_cursor, file),
            close=file.close,
        )
        return BatchReader(records, strict=self._config.strict)

    def count(self) -> int | None:
        """Lines, blank ones included; None for large files."""
        return count_lines(self._path, self._config.encoding)


class JsonLinesSource(_LineFile):
    """A file of one JSON object a line, plain or compressed (``.gz``, ``.zst``).

    Args:
        path: The file.
        config: Names of fields, strictness, longest line.
    """

    def __init__(self, path: Path, config: SourceConfig) -> None:
        notes = ReadingNotes(path.name)
        mapper = RecordMapper(config.fields, stem_of(path), notes=notes)
        super().__init__(path, config, json_parser(mapper), notes)


class TextLinesSource(_LineFile):
    """A file of one text a line, without targets, plain or compressed (``.gz``, ``.zst``).

    Args:
        path: The file.
        config: Strictness, longest line.
    """

    def __init__(self, path: Path, config: SourceConfig) -> None:
        mapper = RecordMapper(config.fields, stem_of(path))
        super().__init__(path, config, text_parser(mapper, config.fields), ReadingNotes(path.name))
