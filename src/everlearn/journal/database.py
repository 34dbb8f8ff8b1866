"""The SQLite file under a journal: how it is opened, written in transactions, and migrated."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from everlearn.errors import RunError, StateError
from everlearn.journal.durable_files import storage_errors
from everlearn.journal.schema import APPLICATION_ID, MIGRATIONS, READABLE_FROM, SCHEMA_VERSION

__all__ = ["BUSY_SECONDS", "REPAIR_ADVICE", "Database", "Row", "is_damage"]

REPAIR_ADVICE = (
    "`everlearn journal repair RUN` brings what can be read into a new journal and says what is lost; or "
    "restore it from a copy of the run."
)

Row = tuple[Any, ...]

_PAGE_BYTES = 16_384  # a code has some two kilobytes: on small pages half of the room would be lost
_CACHE_KIBIBYTES = 8_192
_WAL_BYTES = 32 << 20
BUSY_SECONDS = 30.0
"""So long is waited for other processes."""
_SIGNS_OF_DAMAGE = (
    "Could not decode to UTF-8",
    "no such table",
    "no such column",
    "no such index",
    "unsupported file format",
    "malformed",
)


def is_damage(error: BaseException) -> bool:
    """Whether SQLite says that the file's content is wrong (and not, say, that the disk is full)."""
    if not isinstance(error, sqlite3.DatabaseError):
        return False
    # Every journal has all tables and columns, and only UTF-8.
    if str(error).startswith(_SIGNS_OF_DAMAGE):
        return True
    code = (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class Database:
    """One connection to a journal's file. See :meth:`create`, :meth:`open_to_write`, :meth:`open_to_read`."""

    page_bytes = _PAGE_BYTES

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._last_time = ""
        self.before_commit: Callable[[], None] | None = None  # writes what belongs to every transaction
        self.after_rollback: Callable[[], None] | None = None  # who keeps in memory what there is looks again

    @classmethod
    def create(cls, path: Path) -> Database:
        """Make a new journal file; one that exists without tables is taken over."""
        database = cls(path, _connected(path))
        database._prepare_to_write()
        return database

    @classmethod
    def open_to_write(cls, path: Path) -> Database:
        """Open a journal, bringing an older format up to date.

        Raises:
            RunError: It is of a newer format, or no journal.
            StateError: It is damaged or missing.
        """
        if not path.is_file():
            raise StateError(f"{path} is missing. Restore it from a copy of the run.")
        with _damage_told(path):
            database = cls(path, _connected(path))
            try:
                database._check_format()
                database._prepare_to_write()
            except BaseException:
                database.close()
                raise
        return database

    @classmethod
    def open_to_read(cls, path: Path) -> Database:
        """Open a journal without changing it; another process may go on writing.

        Raises:
            RunError: As above.
            StateError: As above.
            StorageError: A write-ahead log is there, and no room (or right) for the index that it needs.
        """
        if not path.is_file():
            raise StateError(f"{path} is missing. Restore it from a copy of the run.")
        with _damage_told(path):
            try:
                connection = _connected(path, "mode=ro")
                connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
            except sqlite3.OperationalError:
                # In a folder that cannot be written, or on a full disk, SQLite cannot make its shared index.
                # Without anything in a write-ahead log the file can be taken as it is.
                log = path.with_name(f"{path.name}-wal")
                if log.exists() and log.stat().st_size:
                    with storage_errors(path, "To be read it needs room for an index beside it."):
                        raise
                connection = _connected(path, "mode=ro&immutable=1")
            database = cls(path, connection)
            try:
                database._check_format()
                if database.version < READABLE_FROM:
                    raise RunError(
                        f"{path} is of the older format version {database.version}; a command that writes "
                        "the run (everlearn journal compact RUN) brings it up to date"
                    )
            except BaseException:
                database.close()
                raise
        return database

    @classmethod
    def open_to_check(cls, path: Path, *, with_log: bool) -> Database:
        """Open read-only, also an older format. Raises as above.

        Args:
            path: The main file.
            with_log: Whether what the write-ahead log holds counts too.
        """
        with _damage_told(path):
            database = cls(path, _connected(path, "mode=ro" if with_log else "mode=ro&immutable=1"))
            try:
                database._check_format()
            except BaseException:
                database.close()
                raise
        return database

    @property
    def version(self) -> int:
        """Format version of the file."""
        return int(self.one("PRAGMA user_version")[0])

    def execute(self, sql: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
        """Run one statement."""
        with _damage_told(self.path):
            return self._connection.execute(sql, values)

    def executemany(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        """Run one statement for each row."""
        with _damage_told(self.path):
            self._connection.executemany(sql, rows)

    def rows(self, sql: str, values: Sequence[object] = ()) -> Iterator[Row]:
        """The rows of a query, as they are read."""
        with _damage_told(self.path):
            yield from self._connection.execute(sql, values)

    def all(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        """All rows of a query."""
        return list(self.rows(sql, values))

    def one(self, sql: str, values: Sequence[object] = ()) -> Row:
        """The only row of a query."""
        row = self.first(sql, values)
        assert row is not None, sql
        return row

    def first(self, sql: str, values: Sequence[object] = ()) -> Row | None:
        """The first row of a query, or None."""
        with _damage_told(self.path):
            row: Row | None = self._connection.execute(sql, values).fetchone()
            return row

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; durable when the block has ended. Within another one, a part of that one."""
        if self._connection.in_transaction:
            yield
            return
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
            if self.before_commit is not None:
                self.before_commit()
            self.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            if self.after_rollback is not None:
                self.after_rollback()
            raise

    def now(self) -> str:
        """The time (UTC, ISO 8601), never before the last one given: clocks are set back at times."""
        if not self._last_time:
            newest = self.first("SELECT time FROM steps ORDER BY step DESC LIMIT 1")
            self._last_time = newest[0] if newest else ""
        self._last_time = max(self._last_time, datetime.now(UTC).isoformat(timespec="milliseconds"))
        return self._last_time

    def empty_log(self, wait_seconds: float = BUSY_SECONDS) -> bool:
        """Bring everything from the write-ahead log into the file, and empty the log.

        Args:
            wait_seconds: How long to wait for processes that read the journal.

        Returns:
            Whether the log is empty now: False where somebody still reads what it holds.
        """
        self.execute(f"PRAGMA busy_timeout = {int(wait_seconds * 1_000)}")
        try:
            # Where it must not wait any longer, SQLite says so in the row and raises nothing.
            is_busy = self.one("PRAGMA wal_checkpoint(TRUNCATE)")[0]
        finally:
            self.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1_000)}")
        return not is_busy

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Within the block all queries see the journal as it is at its beginning, whoever writes it.

        It should be short: as long as it lasts, the write-ahead log only grows.
        """
        if self._connection.in_transaction:
            yield
            return
        self.execute("BEGIN")
        try:
            self.first("SELECT 1 FROM meta LIMIT 1")  # with the first query it begins to hold
            yield
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def copy_to(self, path: Path) -> None:
        """Copy all that there is at one moment, the write-ahead log's included; others may go on writing.

        Args:
            path: A new file, which holds all of it: it has no log.
        """
        with _damage_told(self.path), closing(sqlite3.connect(path, isolation_level=None)) as copy:
            self._connection.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # the next who writes it turns the log on again

    def close(self) -> None:
        """Close the file; the write-ahead log is brought into it."""
        self._connection.close()

    def _check_format(self) -> None:
        application = int(self.one("PRAGMA application_id")[0])
        if application != APPLICATION_ID:
            if application == 0 and not self.all("SELECT name FROM sqlite_master"):
                return  # made, but a crash came before its tables
            raise RunError(f"{self.path} is no everlearn journal")
        if self.version > SCHEMA_VERSION:
            raise RunError(
                f"{self.path} is of the newer format version {self.version}; this everlearn knows versions "
                f"up to {SCHEMA_VERSION}. Use the everlearn that wrote it, or a newer one."
            )

    def _prepare_to_write(self) -> None:
        for pragma in (
            f"page_size = {_PAGE_BYTES}",
            "journal_mode = WAL",
            "synchronous = FULL",  # a batch that was acknowledged is on the disk
            # What is deleted may be somebody's words: overwrite it, don't just unlink it.
            "secure_delete = ON",
            f"wal_autocheckpoint = {_WAL_BYTES // _PAGE_BYTES}",
            f"journal_size_limit = {_WAL_BYTES}",
        ):
            self.execute(f"PRAGMA {pragma}")
        if self.version < SCHEMA_VERSION:
            with self.transaction():
                for statements in MIGRATIONS[self.version :]:
                    for statement in statements:
                        self.execute(statement)
                self.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                self.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _connected(path: Path, query: str = "mode=rwc") -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.resolve().as_uri()}?{query}",
        uri=True,
        isolation_level=None,
        timeout=BUSY_SECONDS,
        check_same_thread=False,  # threads take turns, as whoever shares a journal sees to
    )
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIBIBYTES}")
    return connection


@contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        raise StateError(f"{path} is damaged ({error}). {REPAIR_ADVICE}") from error
    except UnicodeDecodeError as error:  # what SQLite would say cites what it has read
        raise StateError(f"{path} is damaged (it holds bytes that are no text). {REPAIR_ADVICE}") from error
