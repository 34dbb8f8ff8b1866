"""Parquet and Arrow files, read in small pieces of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from everlearn.errors import InputError
from everlearn.stream.batches import BatchReader
from everlearn.stream.excerpt import excerpt_of
from everlearn.stream.files.delimited import require_columns, tell_apart
from everlearn.stream.files.line_files import cursor_number
from everlearn.stream.files.row_digest import RowDigest, pieces_behind
from everlearn.stream.lines import stem_of
from everlearn.stream.mapping import RecordMapper, json_value
from everlearn.stream.records.record_error import RecordError
from everlearn.stream.source import ChangedSourceError, EndOfStream, Rejection, SourceConfig
from everlearn.types import Cursor, Example

__all__ = [
    "ArrowSource",
    "ParquetSource",
    "RowRecords",
    "first_row_of",
    "mapped_rows",
    "open_parquet",
    "parquet_pieces",
]

_ROWS_PER_PIECE = 512
_PARQUET_BUFFER_BYTES = 1 << 20


class _Unreadable:
    # Stands for a value that Python has no object for: a string that is not UTF-8, a date of the year 12000.

    def __init__(self, reason: str) -> None:
        self.reason = reason


Row = dict[str, Any]
RowParser = Callable[[Row, int], Example]
"""Makes an example of a row and its number (from 1), or raises RecordError."""


class RowRecords:
    """The records of a table.

    Args:
        pieces: Tables or record batches that begin at the cursor's row.
        first_row: Rows before them.
        parse: What makes examples of rows.
        name: The source's name.
        close: Called by ``close``.
        digest: Of the rows before; cursors have none where it is None.
    """

    def __init__(
        self,
        pieces: Iterator[Any],
        *,
        first_row: int,
        parse: RowParser,
        name: str,
        close: Callable[[], None] = lambda: None,
        digest: RowDigest | None = None,
    ) -> None:
        self._pieces = pieces
        self._rows: Iterator[Row] = iter(())
        self._row = first_row
        self._parse = parse
        self._name = name
        self._close = close
        self._digest = digest

    def read(self) -> Example | Rejection | None:
        """See Records."""
        while True:
            try:
                row = next(self._rows)
                break
            except StopIteration:
                self._rows = self._next_rows()
        self._row += 1
        place = f"{self._name}:{self._row}"
        try:
            return self._parse(row, self._row)
        except RecordError as error:
            return Rejection(place, str(error), _excerpt(row))

    def _next_rows(self) -> Iterator[Row]:
        try:
            piece = next(self._pieces)
        except StopIteration:
            raise EndOfStream from None
        except (OSError, pa.ArrowException) as error:
            raise InputError(
                f"{self._name}:{self._row + 1}: the file cannot be read any further: {error}"
            ) from error
        if self._digest is not None:
            self._digest.add(piece)
        return iter(_rows_of(piece))

    def cursor(self) -> Cursor:
        """See Records."""
        digest = {} if self._digest is None else {"sha256": self._digest.of(self._row)}
        return {"row": self._row} | digest

    def close(self) -> None:
        """See Records."""
        self._rows = self._pieces = iter(())
        self._close()


def _rows_of(piece: Any) -> list[Row]:
    columns = [_values_of(piece.column(index)) for index in range(piece.num_columns)]
    names = piece.schema.names
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _values_of(column: Any) -> list[Any]:
    """A column's values as Python has them, one by one where it has none for some."""
    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        # Python counts microseconds; a column of other instants is not to fail for it.
        column = pc.cast(column, pa.timestamp("us", column.type.tz), safe=False)
    try:
        values: list[Any] = column.to_pylist()
    except (ValueError, OverflowError, ImportError, LookupError, pa.ArrowException):
        values = [_value_of(column[index]) for index in range(len(column))]
    return values


def _value_of(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        return _Unreadable("not UTF-8")
    except (ValueError, OverflowError, ImportError, LookupError, pa.ArrowException) as error:
        return _Unreadable(f"not a value that Python knows: {error}")


def _excerpt(row: Row) -> str:
    shown = ", ".join(
        f"{name}: {'?' if isinstance(value, _Unreadable) else str(value)[:100]}"
        for name, value in list(row.items())[:8]
    )
    return excerpt_of(shown)


def mapped_rows(config: SourceConfig, stem: str) -> RowParser:
    """A parser of rows of any table, by the names of its columns."""
    mapper = RecordMapper(config.fields, stem)
    max_bytes = config.max_record_bytes
    text_names = config.fields.text_names

    def parse(row: Row, number: int) -> Example:
        text = next((row[name] for name in text_names if row.get(name) is not None), None)
        if (
            isinstance(text, str)
            and 4 * len(text) > max_bytes
            and len(text.encode(errors="replace")) > max_bytes
        ):
            raise RecordError(f"longer than {max_bytes:,} bytes")
        record = {}
        for name, value in row.items():
            try:
                if isinstance(value, _Unreadable):
                    raise RecordError(value.reason)
                record[name] = json_value(value)
            except RecordError as error:
                if name in mapper.names:
                    raise RecordError(f"field {name!r}: {error}") from None
                record[name] = None
        return mapper.example(record, number)

    return parse


def open_parquet(path: Path) -> pq.ParquetFile:
    """A Parquet file, its columns read in buffered pieces.

    Raises:
        InputError: The file cannot be opened or is no Parquet file.
    """
    try:
        return pq.ParquetFile(path, buffer_size=_PARQUET_BUFFER_BYTES, pre_buffer=False)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path} cannot be read as Parquet: {error}") from error


def parquet_pieces(file: pq.ParquetFile, first_row: int) -> Iterator[Any]:
    """Record batches of a Parquet file from a row on; row groups before it are not read."""
    groups = list(range(file.num_row_groups))
    while groups and file.metadata.row_group(groups[0]).num_rows <= first_row:
        first_row -= file.metadata.row_group(groups.pop(0)).num_rows
    if not groups:
        return
    for batch in file.iter_batches(batch_size=_ROWS_PER_PIECE, row_groups=groups, use_threads=False):
        if first_row >= batch.num_rows:
            first_row -= batch.num_rows
            continue
        yield batch.slice(first_row)
        first_row = 0


def first_row_of(cursor: Cursor | None, num_rows: int | None, name: str) -> int:
    """The row at which a cursor stands.

    Raises:
        InputError: The cursor is not one of this source.
        ChangedSourceError: It stands behind the source's end.
    """
    row = 0 if cursor is None else cursor_number(cursor, "row", name)
    if num_rows is not None and row > num_rows:
        raise ChangedSourceError(f"{name} ends before row {row}, where reading stopped: another file?")
    return row


def _require_columns(columns: Sequence[str], config: SourceConfig, place: str) -> None:
    """See ``require_columns``; of two columns of one name that nobody looks at, the last is kept."""
    tell_apart(columns, RecordMapper(config.fields, "").names, place)
    require_columns(columns, config.fields, place)


class ParquetSource:
    """A Parquet file. Rows are numbered from 1.

    Args:
        path: The file.
        config: Names of columns, strictness, longest text.
    """

    def __init__(self, path: Path, config: SourceConfig) -> None:
        self.name = path.name
        self._path = path
        self._config = config

    def open(self, cursor: Cursor | None = None) -> BatchReader:
        """See Source."""
        file = open_parquet(self._path)
        try:
            _require_columns(file.schema_arrow.names, self._config, str(self._path))
            row = first_row_of(cursor, file.metadata.num_rows, self.name)
            pieces, digest = pieces_behind(row, cursor, partial(parquet_pieces, file), self.name)
        except InputError:
            file.close()
            raise
        records = RowRecords(
            pieces,
            first_row=row,
            parse=mapped_rows(self._config, stem_of(self._path)),
            name=self.name,
            close=file.close,
            digest=digest,
        )
        return BatchReader(records, strict=self._config.strict)

    def count(self) -> int | None:
        """Rows, from the file's footer."""
        try:
            with open_parquet(self._path) as file:
                return int(file.metadata.num_rows)
        except InputError:
            return None


class ArrowSource:
    """An Arrow IPC file (Feather version 2) or IPC stream. Rows are numbered from 1.

    Args:
        path: The file; it is mapped into memory, not read whole.
        config: Names of columns, strictness, longest text.
    """

    def __init__(self, path: Path, config: SourceConfig) -> None:
        self.name = path.name
        self._path = path
        self._config = config

    def open(self, cursor: Cursor | None = None) -> BatchReader:
        """See Source."""
        file, batches, columns = self._batches()
        try:
            _require_columns(columns, self._config, str(self._path))
            row = first_row_of(cursor, None, self.name)
            sliced = partial(_sliced, batches, self.name)
            pieces, digest = pieces_behind(row, cursor, sliced, self.name)
        except InputError:
            file.close()
            raise
        records = RowRecords(
            pieces,
            first_row=row,
            parse=mapped_rows(self._config, stem_of(self._path)),
            name=self.name,
            close=file.close,
            digest=digest,
        )
        return BatchReader(records, strict=self._config.strict)

    def count(self) -> int | None:
        """Rows; cheap, for the file is mapped into memory."""
        try:
            file, batches, _ = self._batches()
            with file:
                return sum(int(batch.num_rows) for batch in batches)
        except (InputError, OSError, pa.ArrowException):
            return None

    def _batches(self) -> tuple[Any, Iterator[Any], list[str]]:
        file = None
        try:
            file = pa.memory_map(str(self._path)) if self._path.stat().st_size else pa.BufferReader(b"")
            if file.size() and file.read(6) == b"ARROW1":
                reader = pa.ipc.open_file(file)
                batches = (reader.get_batch(index) for index in range(reader.num_record_batches))
            else:
                file.seek(0)
                reader = pa.ipc.open_stream(file)
                batches = iter(reader)
            return file, batches, list(reader.schema.names)
        except (OSError, pa.ArrowException) as error:
            if file is not None:
                file.close()
            raise InputError(f"{self._path} cannot be read as Arrow (IPC file or stream): {error}") from error


def _sliced(batches: Iterator[Any], name: str, first_row: int) -> Iterator[Any]:
    remaining = first_row
    for batch in batches:
        if remaining >= batch.num_rows:
            remaining -= batch.num_rows
            continue
        for begin in range(remaining, batch.num_rows, _ROWS_PER_PIECE):
            yield batch.slice(begin, _ROWS_PER_PIECE)
        remaining = 0
    if remaining:
        raise ChangedSourceError(f"{name} ends before row {first_row}, where reading stopped: another file?")
