"""Reading tables of a damaged file: every row that can still be read, and which keys could not."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from everlearn.journal.checksums import checksum
from everlearn.journal.database import Database, Row

__all__ = ["DamagedFile", "Unread", "with_new_first_page"]

_KEYS_AT_ONCE = 512
_WIDEST_GAP = 1 << 11  # keys that are tried beyond the last readable one where reading fails
_LARGEST = 1 << 48
_NUM_PROBES = 64
# What SQLite says of damage may cite bytes that are no text.
_UNREADABLE = (sqlite3.Error, UnicodeDecodeError)


@dataclass(slots=True)
class Unread:
    """What of a table could not be had.

    Attributes:
        keys: Of rows that do not match their checksum or lie where reading failed. Some of the latter may
            never have existed.
        has_open_end: Whether further rows may be lost at the end, where nothing says how many there were.
    """

    keys: set[int] = field(default_factory=set)
    has_open_end: bool = False


class DamagedFile:
    """A SQLite file that may be damaged anywhere, read-only.

    Args:
        path: The main file.
        with_log: Whether what the write-ahead log holds counts too.
    """

    def __init__(self, path: Path, *, with_log: bool) -> None:
        query = "mode=ro" if with_log else "mode=ro&immutable=1"
        self._connection = sqlite3.connect(
            f"{path.resolve().as_uri()}?{query}", uri=True, isolation_level=None
        )
        # Bytes that are no text must not stop the reading; their checksum tells.
        self._connection.text_factory = lambda data: data.decode("utf-8", "surrogateescape")

    def tables(self) -> set[str]:
        """Names in the file's own table of tables; none where it cannot be read."""
        try:
            return {row[0] for row in self._connection.execute("SELECT name FROM sqlite_master")}
        except _UNREADABLE:
            return set()

    def numbered_rows(
        self, table: str, key: str, unread: Unread, *, highest: int = 0, has_checksum: bool = True
    ) -> Iterator[Row]:
        """All readable rows of a table with an integer key that match their checksums, in order.

        Args:
            table: The table; its first column is the key.
            key: The key's name.
            unread: Is told of the others.
            highest: The highest key that there was, as far as other tables tell; 0: they do not.
            has_checksum: Whether its last column is the checksum.
        """
        if not self._is_readable(table, key, highest):
            unread.keys.update(range(1, highest + 1))
            unread.has_open_end = not highest
            return
        # Beyond what other tables tell, only as far as rows follow: a damaged key may be astronomical.
        first, tried = 1, max(highest, _WIDEST_GAP)
        while True:
            last, num_rows, num_unread = first + _KEYS_AT_ONCE - 1, 0, len(unread.keys)
            if first <= highest:
                last = min(last, highest)
            for row in self._between(table, key, first, last, unread):
                num_rows += 1
                if has_checksum and not _matches(row):
                    unread.keys.add(row[0])
                else:
                    tried = max(tried, row[0] + _WIDEST_GAP)
                    yield row
            first = last + 1
            if num_rows or first <= highest:
                continue
            following = self._next_key(table, key, first)
            if following == 0 or (following or 0) > _LARGEST:
                return
            if following is not None and len(unread.keys) == num_unread:
                first = following
            elif first > tried:
                unread.has_open_end = True
                unread.keys = {
                    number for number in unread.keys if number <= max(highest, tried - _WIDEST_GAP)
                }
                return

    def named_rows(self, table: str, key: str, unread: Unread) -> Iterator[Row]:
        """All readable rows of a small table with another key."""
        seen = set()
        for direction in ("ASC", "DESC"):
            try:
                for row in self._connection.execute(f"SELECT * FROM {table} ORDER BY {key} {direction}"):
                    if row[0] not in seen:
                        seen.add(row[0])
                        yield row
            except _UNREADABLE:
                unread.has_open_end = True
            else:
                return

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _between(self, table: str, key: str, first: int, last: int, unread: Unread) -> Iterator[Row]:
        """Rows from one key to another; where reading fails, each half by itself."""
        try:
            rows = self._connection.execute(
                f"SELECT * FROM {table} WHERE {key} BETWEEN ? AND ? ORDER BY {key}", (first, last)
            ).fetchall()
        except _UNREADABLE:
            if first == last:
                unread.keys.add(first)
                return
            middle = (first + last) // 2
            yield from self._between(table, key, first, middle, unread)
            yield from self._between(table, key, middle + 1, last, unread)
            return
        before = first - 1
        for row in rows:
            if isinstance(row[0], int) and before < row[0] <= last:
                before = row[0]
                yield row

    def _is_readable(self, table: str, key: str, highest: int) -> bool:
        """Whether reading succeeds anywhere in a table; where its root is damaged, every key would fail."""
        probes = sorted({1 + k * highest // _NUM_PROBES for k in range(_NUM_PROBES)} | {1, highest})
        for condition in (*(f"{key} = {probe}" for probe in probes), "1 ORDER BY 1 DESC"):
            try:
                self._connection.execute(f"SELECT {key} FROM {table} WHERE {condition} LIMIT 1").fetchone()
            except _UNREADABLE:
                continue
            return True
        return False

    def _next_key(self, table: str, key: str, first: int) -> int | None:
        """The lowest key from this one on; 0: there is none; None: reading fails."""
        try:
            row = self._connection.execute(
                f"SELECT {key} FROM {table} WHERE {key} >= ? ORDER BY {key} LIMIT 1", (first,)
            ).fetchone()
        except _UNREADABLE:
            return None
        return 0 if row is None or not isinstance(row[0], int) else max(row[0], first)


def with_new_first_page(path: Path, copy: Path) -> None:
    """Copy a journal and give the copy the first page of a new one, where the tables are listed.

    All journals of a format have their tables' roots on the same pages. Where that is not so, rows do not
    match their checksums.
    """
    new = copy.with_name(f"{copy.name}.new")
    try:
        Database.create(new).close()
        first_page = bytearray(new.read_bytes()[: Database.page_bytes])
    finally:
        for suffix in ("", "-wal", "-shm"):
            new.with_name(f"{new.name}{suffix}").unlink(missing_ok=True)
    shutil.copyfile(path, copy)
    num_pages = -(-copy.stat().st_size // Database.page_bytes)
    os.truncate(copy, num_pages * Database.page_bytes)
    first_page[28:32] = num_pages.to_bytes(4, "big")
    first_page[32:40] = bytes(8)  # no list of free pages: nothing is written there
    with copy.open("r+b") as file:
        file.write(first_page)


def _matches(row: Row) -> bool:
    return bool(checksum(*row[:-1]) == row[-1])
