"""Rows of delimited text, some of whose quotes were never meant as such."""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from everlearn.stream.excerpt import excerpt_of
from everlearn.stream.files.line_files import not_text
from everlearn.stream.lines import LineScanner
from everlearn.stream.records.record_error import RecordError
from everlearn.stream.source import EndOfStream

__all__ = ["AmbiguousDelimiterError", "DelimitedRows"]

_DELIMITERS = (",", ";", "\t", "|")
_SEPARATOR = re.compile(rb"sep=([^\"\r\n\x80-\xff])\r?\n?", re.IGNORECASE)
# So many lines in a row that each look like a row are no accident.
_MANY_LINES = 8


class _Line(NamedTuple):
    raw: bytes
    number: int
    end: int
    is_oversized: bool


class AmbiguousDelimiterError(RecordError):
    """A header that may be parted in several ways."""


class DelimitedRows:
    """Cuts lines into rows; a quoted cell may hold line ends.

    A quote that is left open, or closed where no cell ends, would take the lines behind it along. Then only
    the line it stands in is refused, and reading goes on at the next. So it does where a quote closes lines
    on although every line between looks like a row of its own. In tab-separated text, whose cells are seldom
    quoted, such a line is taken as it is written. A first line ``sep=;`` says the delimiter, as spreadsheets
    write it.

    Args:
        scanner: Gives the lines.
        max_record_bytes: Longest row.
        delimiter: One character; None: found by the first line, a comma where nothing else fits.
        names: Columns that are looked for, by which a delimiter is known.

    Attributes:
        line: Lines up to the end of the last row.
        offset: Bytes up to it.
        first_line: The line in which the last row began.
        num_lines: Lines that the last row takes.
    """

    def __init__(
        self,
        scanner: LineScanner,
        max_record_bytes: int,
        delimiter: str | None,
        names: Collection[str] = (),
    ) -> None:
        # The module's own limit is one for the whole process: raised here, never lowered.
        csv.field_size_limit(max(csv.field_size_limit(), max_record_bytes))
        self.line, self.offset = scanner.line, scanner.offset
        self.first_line = 0
        self.num_lines = 1
        self._excerpted = b""
        self._scanner = scanner
        self._max_record_bytes = max_record_bytes
        self._given_back: deque[_Line] = deque()
        self._num_columns = 0
        self._target_columns: list[int] = []
        self._found = delimiter
        self._names = names

    @property
    def excerpt(self) -> str:
        """How the last row begins."""
        return excerpt_of(self._excerpted)

    @property
    def delimiter(self) -> str:
        """What stands between cells."""
        return self._found or ","

    def expect(self, columns: Sequence[str], target_names: Collection[str]) -> None:
        """Tell the names of the columns, and which of them hold targets: rows are known by these."""
        self._num_columns = len(columns)
        self._target_columns = [index for index, name in enumerate(columns) if name in target_names]

    def next_row(self) -> list[str]:
        """The cells of the next row; blank lines are none.

        Raises:
            EndOfStream: There are no more.
            AmbiguousDelimiterError: The first line does not say what parts its cells.
            RecordError: The line cannot be used; the next call goes on behind it.
            InputError: The lines cannot be read any further.
        """
        scanner = self._scanner
        self.num_lines = 1
        if not scanner.line:
            self._take_separator()
        if self._found is not None and not self._given_back:  # what nearly all rows need
            raw = scanner.read()
            if (
                raw
                and b'"' not in raw
                and b"\r" not in raw[:-2]
                and not scanner.oversized
                and not raw.isspace()
            ):
                self.line, self.offset = self.first_line, _ = scanner.line, scanner.offset
                self._excerpted = raw
                return _text(raw).rstrip("\r\n").split(self._found)
            first = _Line(raw, scanner.line, scanner.offset, scanner.oversized) if raw else None
        else:
            first = self._next_line()
        while first is not None and first.raw.isspace() and not first.is_oversized:
            self._commit(first)
            first = self._next_line()
        if first is None:
            raise EndOfStream
        self.first_line = first.number
        self._excerpted = first.raw
        if self._found is None:
            self._found = _delimiter_of(first.raw, self._names)
        if first.is_oversized:
            self._commit(first)
            raise RecordError(f"longer than {self._max_record_bytes:,} bytes")
        if b'"' not in first.raw:
            self._commit(first)
            return self._lenient(first.raw)
        return self._quoted(first)

    def _take_separator(self) -> None:
        first = self._next_line()
        said = None if first is None else _SEPARATOR.fullmatch(first.raw)
        if first is not None and said is not None:
            self._found = self._found or said[1].decode(errors="replace")
            self._commit(first)
        elif first is not None:
            self._given_back.append(first)

    def _quoted(self, first: _Line) -> list[str]:
        lines = [first]
        try:
            shown = (first.raw.decode(errors="replace"),)
            row = next(csv.reader(shown, delimiter=self.delimiter, strict=True))
        except csv.Error:
            pass  # it goes on, or its quotes are no quotes
        else:
            self._commit(first)
            _text(first.raw)
            return row
        try:
            whole: list[str] | None = next(
                csv.reader(self._texts(lines), delimiter=self.delimiter, strict=True)
            )
        except (csv.Error, _Unfinished):
            whole = None
        if whole is not None and self._is_one_row(whole, lines):
            self._commit(lines[-1])
            self.num_lines = len(lines)
            for line in lines:  # all of the row was needed to know where it ends
                _text(line.raw)
            return whole
        self._given_back.extendleft(reversed(lines[1:]))
        self._commit(first)
        if self.delimiter == "\t":
            return self._unquoted(first.raw)
        if _is_closed(first.raw, self.delimiter):  # its quotes stand where no cell ends
            return self._lenient(first.raw)
        raise RecordError("a quote is left open: only this line is passed over")

    def _texts(self, lines: list[_Line]) -> Iterator[str]:
        """The text of the first line, then of lines that are added to it."""
        num_bytes = len(lines[0].raw)
        yield lines[0].raw.decode(errors="replace")
        while (line := self._next_line()) is not None:
            lines.append(line)
            num_bytes += len(line.raw)
            if line.is_oversized or num_bytes > self._max_record_bytes + 2:
                raise _Unfinished
            yield line.raw.decode(errors="replace")
        raise _Unfinished

    def _is_one_row(self, row: Sequence[str], lines: Sequence[_Line]) -> bool:
        """Whether a quote was meant that holds several lines together."""
        return len(row) == (self._num_columns or len(row)) and not self._look_like_rows(lines)

    def _look_like_rows(self, lines: Sequence[_Line]) -> bool:
        """Whether each line is a row of its own: a stray quote has swallowed all but the first."""
        if self._num_columns < 2:
            return False
        rows = []
        for line in lines:
            try:
                rows.append(self._unquoted(line.raw))
            except RecordError:
                return False
        columns = self._target_columns
        if any(len(row) != self._num_columns or not all(row[index] for index in columns) for row in rows):
            return False
        # Told by these lines alone: whoever goes on from a cursor must come to the same rows.
        return len(rows) >= _MANY_LINES or (self._num_columns >= 4 and len(rows) >= 3)

    def _lenient(self, raw: bytes) -> list[str]:
        return _cells(csv.reader([_text(raw)], delimiter=self.delimiter))

    def _unquoted(self, raw: bytes) -> list[str]:
        return _cells(csv.reader([_text(raw)], delimiter=self.delimiter, quoting=csv.QUOTE_NONE))

    def _next_line(self) -> _Line | None:
        if self._given_back:
            return self._given_back.popleft()
        scanner = self._scanner
        raw = scanner.read()
        return _Line(raw, scanner.line, scanner.offset, scanner.oversized) if raw else None

    def _commit(self, last: _Line) -> None:
        self.line, self.offset = last.number, last.end


class _Unfinished(Exception):
    # The lines end, or are too many, before a row does. The csv module takes the end for that of a row.
    pass


def _cells(rows: Iterator[list[str]]) -> list[str]:
    try:
        return next(rows, [])
    except csv.Error as error:
        raise RecordError(str(error)) from None


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise RecordError(not_text(error.start)) from None


def _is_closed(raw: bytes, delimiter: str) -> bool:
    """Whether no quote is open at the end of a line, as a lenient reader sees it."""
    rows = csv.reader([raw.decode(errors="replace"), "end"], delimiter=delimiter)
    try:
        next(rows, None)
        return next(rows, None) == ["end"]
    except csv.Error:  # a line end within a line: what it is will be said where it is read
        return True


def _delimiter_of(header: bytes, names: Collection[str]) -> str:
    """What parts the columns' names: what brings out most of those that are looked for, else the comma.

    Raises:
        AmbiguousDelimiterError: Several do, each others.
    """
    text = header.decode(errors="replace")
    there = [each for each in _DELIMITERS if each in text]
    if len(there) < 2:
        return there[0] if there else ","
    found = {each: sum(name in names for name in _columns(text, each)) for each in there}
    best = [each for each in there if found[each] == max(found.values())]
    if len(best) == 1:
        return best[0]
    if found[best[0]]:
        raise AmbiguousDelimiterError(
            f"the header may be parted by {' or by '.join(map(repr, best))}: say which (--delimiter)"
        )
    return "," if "," in best else max(best, key=text.count)


def _columns(header: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([header], delimiter=delimiter), [])
    except csv.Error:
        return []
