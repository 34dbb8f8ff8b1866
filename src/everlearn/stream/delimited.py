"""Comma- and tab-separated files with a header line; quoted fields may hold line ends."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from everlearn.errors import InputError
from everlearn.stream.batches import BatchReader
from everlearn.stream.line_files import count_lines, open_lines
from everlearn.stream.lines import LineScanner, stem_of
from everlearn.stream.mapping import RecordError, RecordMapper, excerpt_of
from everlearn.stream.source import EndOfStream, FieldNames, Rejection, SourceConfig
from everlearn.types import Cursor, Example

__all__ = ["DelimitedSource", "require_columns"]


class DelimitedSource:
    """A CSV or TSV file, plain or compressed (``.gz``, ``.zst``). The first record names the columns.

    An empty cell is a missing value. A row with more or fewer cells than the header is rejected. Rows
    are numbered by the line they begin in.

    Args:
        path: The file.
        config: Names of columns, strictness, longest record.
        delimiter: One character.
    """

    def __init__(self, path: Path, config: SourceConfig, *, delimiter: str = ",") -> None:
        self.name = path.name
        self._path = path
        self._config = config
        self._delimiter = delimiter

    def open(self, cursor: Cursor | None = None) -> BatchReader:
        """See Source.

        Raises:
            InputError: Besides, where the header is unreadable or lacks a column that was asked for.
        """
        scanner, file = open_lines(self._path, self._config, None)
        try:
            columns = self._read_header(scanner)
            if cursor is not None and cursor.get("line") != 0:
                file.close()
                scanner, file = open_lines(self._path, self._config, cursor)
        except InputError:
            file.close()
            raise
        records = _DelimitedRecords(
            _RecordLines(scanner, self._config.max_record_bytes, self._delimiter),
            columns,
            RecordMapper(self._config.fields, stem_of(self._path)),
            name=self.name,
            seekable=file.compression == "none",
            close=file.close,
        )
        return BatchReader(records, strict=self._config.strict)

    def count(self) -> int | None:
        """Rows; None for large files, and where quoted fields might hold line ends."""
        num_lines = count_lines(self._path, unless_containing=b'"')
        return None if num_lines is None else max(num_lines - 1, 0)

    def _read_header(self, scanner: LineScanner) -> list[str]:
        lines = _RecordLines(scanner, self._config.max_record_bytes, self._delimiter)
        try:
            columns = lines.next_row()
        except EndOfStream:
            return []
        except RecordError as error:
            raise InputError(f"{self._path}: the header cannot be read: {error}") from error
        named = [column for column in columns if column]
        for column in named:
            if named.count(column) > 1:
                raise InputError(f"{self._path}: the header names column {column!r} twice; rename one")
        require_columns(named, self._config.fields, str(self._path))
        return columns


def require_columns(columns: Sequence[str], fields: FieldNames, place: str) -> None:
    """Make sure that a table has the columns that were asked for.

    Raises:
        InputError: One is missing; the message lists those that there are.
    """
    stand_ins = {*fields.text_alternatives, fields.messages}
    for role in ("text", "target", "id", "domain", "time"):
        name = getattr(fields, role)
        if role == "text" and not stand_ins.isdisjoint(columns):
            continue
        if name is not None and name not in columns:
            raise InputError(
                f"{place} has no column {name!r} for the {role}; its columns are "
                f"{', '.join(columns) or '(none)'}; name the right one (--{role}-field)"
            )


class _RecordLines:
    # Feeds the csv module line by line, and knows where the last complete record ended.

    def __init__(self, scanner: LineScanner, max_record_bytes: int, delimiter: str) -> None:
        # The module's own limit is one for the whole process: raised here, never lowered.
        csv.field_size_limit(max(csv.field_size_limit(), max_record_bytes))
        self.line, self.offset = scanner.line, scanner.offset
        self.first_line = 0
        self.excerpt = ""
        self._scanner = scanner
        self._max_record_bytes = max_record_bytes
        self._delimiter = delimiter
        self._num_bytes = 0
        self._is_utf8 = True
        self._rows = self._new_rows()

    def _new_rows(self) -> Iterator[list[str]]:
        return csv.reader(self._lines(), delimiter=self._delimiter)

    def _lines(self) -> Iterator[str]:
        scanner = self._scanner
        while line := scanner.read():
            if not self._num_bytes:
                if line.isspace() and not scanner.oversized:
                    self._commit()
                    continue
                self.first_line = scanner.line
                self.excerpt = excerpt_of(line)
            self._num_bytes += len(line)
            if scanner.oversized or self._num_bytes > self._max_record_bytes + 2:
                raise RecordError(f"longer than {self._max_record_bytes:,} bytes: a quote left open?")
            try:
                yield line.decode()
            except UnicodeDecodeError:
                # The csv module must see the whole record, or its quotes would be taken the wrong way.
                self._is_utf8 = False
                yield line.decode(errors="replace")
        if self._num_bytes:
            raise RecordError("a quote is left open until the end of the file")

    def _commit(self) -> None:
        self.line, self.offset = self._scanner.line, self._scanner.offset

    def next_row(self) -> list[str]:
        self._num_bytes = 0
        self._is_utf8 = True
        try:
            row = next(self._rows)
        except StopIteration:
            raise EndOfStream from None
        except (csv.Error, RecordError) as error:
            self._rows = self._new_rows()
            self._commit()
            raise RecordError(str(error)) from None
        self._commit()
        if not self._is_utf8:
            raise RecordError("not UTF-8")
        return row


class _DelimitedRecords:
    def __init__(
        self,
        lines: _RecordLines,
        columns: list[str],
        mapper: RecordMapper,
        *,
        name: str,
        seekable: bool,
        close: Callable[[], None],
    ) -> None:
        self._lines = lines
        self._columns = columns
        self._mapper = mapper
        self._name = name
        self._seekable = seekable
        self._close = close

    def read(self) -> Example | Rejection | None:
        lines = self._lines
        try:
            row = lines.next_row()
            if len(row) != len(self._columns):
                raise RecordError(f"{len(row)} cells where the header has {len(self._columns)}")
            record = dict(zip(self._columns, row, strict=True))
            record.pop("", None)
            return self._mapper.example(record, lines.first_line)
        except RecordError as error:
            return Rejection(f"{self._name}:{lines.first_line}", str(error), lines.excerpt)

    def cursor(self) -> Cursor:
        if self._seekable:
            return {"line": self._lines.line, "offset": self._lines.offset}
        return {"line": self._lines.line}

    def close(self) -> None:
        self._close()
