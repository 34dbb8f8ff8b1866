"""Comma- and tab-separated files with a header line; quoted fields may hold line ends."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from everlearn.errors import InputError
from everlearn.stream.batches import BatchReader
from everlearn.stream.files.delimited_rows import AmbiguousDelimiterError, DelimitedRows
from everlearn.stream.files.line_files import count_lines, line_cursor, open_lines
from everlearn.stream.lines import ChunkFile, LineScanner, stem_of
from everlearn.stream.mapping import RecordMapper
from everlearn.stream.notes import ReadingNotes
from everlearn.stream.records.chats import holds_chat
from everlearn.stream.records.record_error import RecordError
from everlearn.stream.source import EndOfStream, FieldNames, Rejection, SourceConfig
from everlearn.types import Cursor, Example, Json

__all__ = ["DelimitedSource", "require_columns", "tell_apart"]


class DelimitedSource:
    """A CSV or TSV file, plain or compressed (``.gz``, ``.zst``). The first record names the columns.

    An empty cell is a missing value. A row with more or fewer cells than the header is rejected. Rows
    are numbered by the line they begin in. What a quote that was never meant does: see ``DelimitedRows``.

    Args:
        path: The file.
        config: Names of columns, strictness, longest record, encoding, delimiter.
        delimiter: Of such files; None: comma, semicolon, tab or bar, as the header shows.
    """

    def __init__(self, path: Path, config: SourceConfig, *, delimiter: str | None = None) -> None:
        self.name = path.name
        self.notes = ReadingNotes(path.name)
        self._path = path
        self._config = config
        self._delimiter = config.delimiter or delimiter

    def open(self, cursor: Cursor | None = None) -> BatchReader:
        """See Source.

        Raises:
            InputError: Besides, where the header is unreadable or lacks a column that was asked for.
        """
        mapper = RecordMapper(self._config.fields, stem_of(self._path), typed=False, notes=self.notes)
        scanner, file = self._open_lines(None, cursor)
        self.notes.encoding(file.recognised)
        try:
            columns, delimiter = self._read_header(scanner, mapper)
            if cursor is None or cursor.get("line") == 0:
                file.close()
                scanner, file = self._open_lines(None, cursor)
                rows = DelimitedRows(scanner, self._config.max_record_bytes, delimiter)
                with suppress(EndOfStream):
                    rows.next_row()
            else:
                file.close()
                scanner, file = self._open_lines(cursor)
                rows = DelimitedRows(scanner, self._config.max_record_bytes, delimiter)
        except InputError:
            file.close()
            raise
        rows.expect(columns, mapper.target_names)
        records = _DelimitedRecords(
            rows, columns, mapper, name=self.name, place=partial(line_cursor, file), close=file.close
        )
        return BatchReader(records, strict=self._config.strict)

    def count(self) -> int | None:
        """Rows; None for large files, and where quoted fields might hold line ends."""
        num_lines = count_lines(self._path, self._config.encoding, unless_containing=b'"')
        return None if num_lines is None else max(num_lines - 1, 0)

    def _open_lines(self, cursor: Cursor | None, seen: Cursor | None = None) -> tuple[LineScanner, ChunkFile]:
        longest = self._config.max_record_bytes
        return open_lines(self._path, self._config, cursor, lookahead_bytes=longest, seen=seen)

    def _read_header(self, scanner: LineScanner, mapper: RecordMapper) -> tuple[list[str], str]:
        rows = DelimitedRows(scanner, self._config.max_record_bytes, self._delimiter, mapper.names)
        try:
            columns = rows.next_row()
        except EndOfStream:
            return [], rows.delimiter
        except AmbiguousDelimiterError as error:
            raise InputError(f"{self._path}: {error}") from None
        except RecordError as error:
            raise InputError(f"{self._path}: the header cannot be read: {error}") from error
        columns = tell_apart(columns, mapper.names, str(self._path))
        named = [column for column in columns if column]
        hint = ""
        if len(named) == 1:
            hint = f"; cells are parted by {rows.delimiter!r} (another one: --delimiter)"
        require_columns(named, self._config.fields, str(self._path), hint)
        return columns, rows.delimiter


def tell_apart(columns: Sequence[str], used: Collection[str], place: str) -> list[str]:
    """Give every column a name of its own.

    Args:
        columns: As the table names them.
        used: Names of those that are looked at.
        place: The table, for the message.

    Raises:
        InputError: Two have the name of one that is looked at.
    """
    seen: dict[str, int] = {}
    names = []
    for column in columns:
        seen[column] = seen.get(column, 0) + 1
        if column and seen[column] > 1:
            if column in used:
                raise InputError(f"{place}: the header names column {column!r} twice; rename one")
            column = f"{column} ({seen[column]})"
        names.append(column)
    return names


def require_columns(columns: Sequence[str], fields: FieldNames, place: str, hint: str = "") -> None:
    """Make sure that a table has the columns that were asked for.

    One without texts may bring targets for what came before, where ``fields.text_optional`` says so.

    Raises:
        InputError: One is missing; the message lists those that there are.
    """
    stand_ins = {*fields.text_alternatives, fields.messages}
    is_chat = fields.messages is not None and holds_chat(columns)
    mapper = RecordMapper(fields, "")
    brings_targets = (
        fields.text_optional
        and not mapper.target_names.isdisjoint(columns)
        and not mapper.id_names.isdisjoint(columns)
    )
    named = [(role, getattr(fields, role)) for role in ("text", "target", "id", "domain", "time")]
    for role, name in [*named, *(("text", name) for name in fields.text_joined)]:
        if role == "text" and (not stand_ins.isdisjoint(columns) or brings_targets or is_chat):
            continue
        if name is not None and name not in columns and name.partition(".")[0] not in columns:
            raise InputError(
                f"{place} has no column {name!r} for the {role}; its columns are "
                f"{', '.join(columns) or '(none)'}; name the right one (--{role}-field){hint}"
            )


class _DelimitedRecords:
    def __init__(
        self,
        rows: DelimitedRows,
        columns: list[str],
        mapper: RecordMapper,
        *,
        name: str,
        place: Callable[[int, int], Cursor],
        close: Callable[[], None],
    ) -> None:
        self._rows = rows
        self._columns = columns
        self._mapper = mapper
        self._name = name
        self._place = place
        self._close = close

    def read(self) -> Example | Rejection | None:
        rows = self._rows
        try:
            row = rows.next_row()
            if len(row) != len(self._columns):
                raise RecordError(f"{len(row)} cells where the header has {len(self._columns)}")
            record: dict[str, Json] = dict(zip(self._columns, row, strict=True))
            record.pop("", None)
            return self._mapper.example(record, rows.first_line)
        except RecordError as error:
            lines = f" (a row of {rows.num_lines:,} lines)" if rows.num_lines > 1 else ""
            return Rejection(f"{self._name}:{rows.first_line}", f"{error}{lines}", rows.excerpt)

    def cursor(self) -> Cursor:
        return self._place(self._rows.line, self._rows.offset)

    def close(self) -> None:
        self._close()
