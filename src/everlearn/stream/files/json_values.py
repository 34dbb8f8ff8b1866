"""JSON files that are not one object a line: an array of objects, or objects over several lines."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

from everlearn.errors import InputError
from everlearn.stream.batches import BatchReader
from everlearn.stream.excerpt import excerpt_of
from everlearn.stream.files.json_wrapper import Wrapper, check_rest, wrapper_of
from everlearn.stream.files.line_files import (
    check_digest,
    check_record,
    cursor_number,
    finite_number,
    refuse_constant,
)
from everlearn.stream.lines import ChunkFile, stem_of
from everlearn.stream.mapping import RecordMapper
from everlearn.stream.notes import ReadingNotes
from everlearn.stream.records.record_error import RecordError
from everlearn.stream.source import ChangedSourceError, EndOfStream, Rejection, SourceConfig
from everlearn.types import Cursor, Example, Json

__all__ = ["JsonValuesSource", "holds_json_values"]

_SPACE = " \t\r\n"


def holds_json_values(path: Path, config: SourceConfig) -> bool:
    """Whether a JSON file is to be read value by value: it begins with a list or a part of an object."""
    try:
        head = _head_of(path, config)
    except InputError:
        return False
    try:
        if _wrapper_of(head, path, config) is not None:
            return True
    except InputError:  # told when it is opened
        return True
    head = head.lstrip()
    first, line_end, _ = head.partition(b"\n")
    if first.startswith(b"["):
        rest = first[1:].lstrip()
        return not rest or not line_end or rest[:1] in (b"{", b"[", b"]")
    return first.startswith(b"{") and _value_length(head) > len(first)


def _head_of(path: Path, config: SourceConfig, cursor: Cursor | None = None) -> bytes:
    file = ChunkFile(path, config.encoding, cursor=cursor)
    try:
        return file.read().removeprefix(codecs.BOM_UTF8)
    finally:
        file.close()


def _wrapper_of(head: bytes, path: Path, config: SourceConfig) -> Wrapper | None:
    text = codecs.getincrementaldecoder("utf-8")(errors="replace").decode(head)
    return wrapper_of(text, RecordMapper(config.fields, "").names, str(path))


def _value_length(text: bytes) -> int:
    """Bytes of the value that a text begins with; 0 where it begins with none."""
    decoded = text.decode(errors="replace")
    try:
        _, end = json.JSONDecoder().raw_decode(decoded)
    except (ValueError, RecursionError):
        return 0
    return len(decoded[:end].encode())


class JsonValuesSource:
    """A file of JSON objects, in a list or one after another, over any number of lines, compressed or not.

    The list may be the only one of an object that the file consists of. Objects are numbered from 1. A value
    that is no object is passed over; where the file is no JSON, it ends.

    Args:
        path: The file.
        config: Names of fields, strictness, longest object.
    """

    def __init__(self, path: Path, config: SourceConfig) -> None:
        self.name = path.name
        self.notes = ReadingNotes(path.name)
        self._path = path
        self._config = config

    def open(self, cursor: Cursor | None = None) -> BatchReader:
        """See Source."""
        number = 0 if cursor is None else cursor_number(cursor, "value", self.name)
        longest = self._config.max_record_bytes
        wrapper = _wrapper_of(_head_of(self._path, self._config, cursor), self._path, self._config)
        if wrapper is not None:
            self.notes.add(
                "list", f"{self.name} is one JSON object; the list in its field {wrapper.name!r} is read."
            )
        file = ChunkFile(self._path, self._config.encoding, cursor=cursor, lookahead_bytes=longest)
        self.notes.encoding(file.recognised)
        mapper = RecordMapper(self._config.fields, stem_of(self._path), notes=self.notes)
        records = _JsonValues(file, mapper, self.name, longest, wrapper)
        try:
            while records.number < number:
                records.read()
            check_digest(file, records.end, cursor, self._path)
        except EndOfStream:
            file.close()
            raise ChangedSourceError(
                f"{self._path} ends before object {number}, where reading stopped: another file?"
            ) from None
        except InputError:
            file.close()
            raise
        return BatchReader(records, strict=self._config.strict)

    def count(self) -> int | None:
        """None: only reading tells."""
        return None


class _JsonValues:
    # Holds the text of one value and the chunk behind it.

    def __init__(
        self, file: ChunkFile, mapper: RecordMapper, name: str, max_bytes: int, wrapper: Wrapper | None
    ) -> None:
        self.number = 0
        self.offset = 0
        self.end = 0  # of the last value: where whoever reads it again stands
        self._file = file
        self._mapper = mapper
        self._name = name
        self._max_bytes = max_bytes
        # Numbers that JSON does not have spoil their value, not the file.
        self._bad_number: RecordError | None = None
        self._decode = json.JSONDecoder(
            parse_constant=partial(self._number, refuse_constant),
            parse_float=partial(self._number, finite_number),
        ).raw_decode
        self._utf8 = codecs.getincrementaldecoder("utf-8-sig")()
        self._text = ""
        self._is_over = False
        self._in_list = False
        self._wrapper = wrapper
        self._failure: InputError | None = None
        self.close: Callable[[], None] = partial(file.close)

    def read(self) -> Example | Rejection | None:
        """See Records."""
        if self._failure is not None:
            raise self._failure
        place = f"{self._name}:{self.number + 1}"
        try:
            self._open_value()
            value, text = self._value(place)
        except InputError as failure:
            self._failure = failure
            raise
        self.number += 1
        self.end = self.offset
        try:
            if len(text.encode()) > self._max_bytes:
                raise RecordError(f"longer than {self._max_bytes:,} bytes")
            if self._bad_number is not None:
                raise self._bad_number
            if not isinstance(value, dict):
                raise RecordError("not a JSON object")
            check_record(value)
            return self._mapper.example(value, self.number)
        except RecordError as error:
            return Rejection(place, str(error), excerpt_of(text))

    def cursor(self) -> Cursor:
        """See Records."""
        return {"value": self.number} | self._file.seal(self.end)

    def _open_value(self) -> None:
        """Go to the beginning of the next value."""
        if self._wrapper is not None and not self._in_list and not self.offset:
            self._fill(self._wrapper.start)
            self._in_list = True
            self._drop(self._wrapper.start)
        while True:
            self._drop(len(self._text) - len(self._text.lstrip(_SPACE)))
            if not self._text:
                if self._is_over:
                    if self._in_list:
                        raise InputError(
                            f"{self._name}:{self.number + 1}: the list of JSON objects has no end"
                        )
                    raise EndOfStream
                self._more()
            elif self._text[0] == "[" and not self._in_list and not self.number:
                self._in_list = True
                self._drop(1)
            elif self._text[0] == "]" and self._in_list:
                self._in_list = False
                self._drop(1)
                if self._wrapper is not None:
                    self._end_object(self._wrapper)
            elif self._text[0] == "," and self.number:
                self._drop(1)
            else:
                return

    def _end_object(self, wrapper: Wrapper) -> None:
        self._fill(self._max_bytes + 1)
        if not self._is_over:
            raise InputError(
                f"{self._name}: more than {self._max_bytes:,} bytes stand behind the list {wrapper.name!r}; "
                "give the list as a file of its own"
            )
        check_rest(self._text, wrapper, self._name)
        self._drop(len(self._text))

    def _fill(self, num_characters: int) -> None:
        while len(self._text) < num_characters and not self._is_over:
            self._more()

    def _value(self, place: str) -> tuple[Json, str]:
        while True:
            self._bad_number = None
            try:
                value, end = self._decode(self._text)
                if end < len(self._text) or self._is_over:  # a number may go on
                    text = self._text[:end]
                    self._drop(end)
                    return value, text
            except RecursionError:
                raise InputError(f"{place}: not usable JSON: nested too deep") from None
            except ValueError as error:
                if self._is_over or len(self._text) > self._max_bytes:
                    reason = "longer than allowed, or " if len(self._text) > self._max_bytes else ""
                    raise InputError(f"{place}: {reason}not JSON: {error}") from None
            self._more()

    def _number(self, parse: Callable[[str], float], digits: str) -> float | None:
        try:
            return parse(digits)
        except RecordError as error:
            self._bad_number = error
            return None

    def _more(self) -> None:
        try:
            chunk = self._file.read()
            self._text += self._utf8.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            raise InputError(
                f"{self._name}:{self.number + 1}: not UTF-8: {error.reason} (another --encoding?)"
            ) from None
        self._is_over = not chunk

    def _drop(self, num_characters: int) -> None:
        if num_characters:
            self.offset += len(self._text[:num_characters].encode())
            self._text = self._text[num_characters:]
