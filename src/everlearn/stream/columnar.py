"""Parquet and Arrow files, read in small pieces of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from everlearn.errors import InputError
from everlearn.stream.batches import BatchReader
from everlearn.stream.delimited import require_columns
from everlearn.stream.line_files import cursor_number
from everlearn.stream.lines import stem_of
from everlearn.stream.mapping import RecordError, RecordMapper, excerpt_of, json_value
from everlearn.stream.source import EndOfStream, Rejection, SourceConfig
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
    """

    def __init__(
        self,
        pieces: Iterator[Any],
        *,
        first_row: int,
        parse: RowParser,
        name: str,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self._pieces = pieces
        self._rows: Iterator[Row | None] = iter(())
        self._row = first_row
        self._parse = parse
        self._name = name
        self._close = close

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
        if row is None:
            return Rejection(place, "not UTF-8", "")
        try:
            return self._parse(row, self._row)
        except RecordError as error:
            return Rejection(place, str(error), _excerpt(row))

    def _next_rows(self) -> Iterator[Row | None]:
        try:
            piece = next(self._pieces)
        except StopIteration:
            raise EndOfStream from None
        except (OSError, pa.ArrowException) as error:
            raise InputError(
                f"{self._name}:{self._row + 1}: the file cannot be read any further: {error}"
            ) from error
        return iter(_rows_of(piece))

    def cursor(self) -> Cursor:
        """See Records."""
        return {"row": self._row}

    def close(self) -> None:
        """See Records."""
        self._rows = self._pieces = iter(())
        self._close()


def _rows_of(piece: Any) -> list[Row | None]:
    try:
        rows: list[Row | None] = piece.to_pylist()
    except UnicodeDecodeError:
        # One bad string spoils a whole piece; find it row by row.
        rows = []
        for index in range(piece.num_rows):
            try:
                rows += piece.slice(index, 1).to_pylist()
            except UnicodeDecodeError:
                rows.append(None)
    return rows


def _excerpt(row: Row) -> str:
    shown = ", ".join(f"{name}: {str(value)[:100]}" for name, value in list(row.items())[:8])
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
        return mapper.example({name: json_value(value) for name, value in row.items()}, number)

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
    """
    row = 0 if cursor is None else cursor_number(cursor, "row", name)
    if num_rows is not None and row > num_rows:
        raise InputError(f"{name} ends before row {row}, where reading stopped: another file?")
    return row


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
            require_columns(file.schema_arrow.names, self._config.fields, str(self._path))
            row = first_row_of(cursor, file.metadata.num_rows, self.name)
        except InputError:
            file.close()
            raise
        records = RowRecords(
            parquet_pieces(file, row),
            first_row=row,
            parse=mapped_rows(self._config, stem_of(self._path)),
            name=self.name,
            close=file.close,
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
            require_columns(columns, self._config.fields, str(self._path))
            row = first_row_of(cursor, None, self.name)
        except InputError:
            file.close()
            raise
        records = RowRecords(
            _sliced(batches, row, self.name),
            first_row=row,
            parse=mapped_rows(self._config, stem_of(self._path)),
            name=self.name,
            close=file.close,
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


def _sliced(batches: Iterator[Any], first_row: int, name: str) -> Iterator[Any]:
    remaining = first_row
    for batch in batches:
        if remaining >= batch.num_rows:
            remaining -= batch.num_rows
            continue
        for begin in range(remaining, batch.num_rows, _ROWS_PER_PIECE):
            yield batch.slice(begin, _ROWS_PER_PIECE)
        remaining = 0
    if remaining:
        raise InputError(f"{name} ends before row {first_row}, where reading stopped: another file?")
