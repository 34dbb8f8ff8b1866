"""Predictions that were made, kept for a while so that feedback can name them by their ids.

They lie in a database of their own beside the run, not in its journal: a prediction is no example until
somebody says what is right. Then the journal has it, and here only its id and what became of it stay.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from everlearn.errors import StateError
from everlearn.service.problems import Problem

__all__ = ["Remembered", "RememberedPredictions"]

_LOG = logging.getLogger(__name__)

_SECONDS_BETWEEN_WRITES = 0.2
_SECONDS_BETWEEN_SWEEPS = 60.0
_MOST_UNWRITTEN = 50_000
_FORMAT = 1

_SCHEMA = """
CREATE TABLE IF NOT EXISTS predictions (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, tenant TEXT NOT NULL, time REAL NOT NULL, text TEXT,
    label TEXT, probability REAL, outlier_score REAL, is_outlier INTEGER NOT NULL, version INTEGER,
    step INTEGER NOT NULL, target TEXT, verdict TEXT);
CREATE INDEX IF NOT EXISTS predictions_by_time ON predictions (time);
CREATE INDEX IF NOT EXISTS predictions_to_review ON predictions (tenant, probability) WHERE text IS NOT NULL;
"""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Remembered:
    """A prediction.

    Attributes:
        id: Its id; that of the example that it becomes.
        tenant: Whose.
        time: When, in seconds since 1970.
        text: The text; None: it has become an example, or texts are not kept.
        label: What was said.
        probability: Of the label.
        outlier_score: See ``Prediction``.
        is_outlier: The same.
        version: The version that said it; None: the newest state.
        step: That state's step.
        target: What somebody said is right; None: nobody has.
        verdict: "right", "wrong", "dismissed", or None.
    """

    id: str
    tenant: str
    time: float
    text: str | None
    label: str | None
    probability: float | None
    outlier_score: float | None
    is_outlier: bool
    version: int | None
    step: int
    target: str | None = None
    verdict: str | None = None


class RememberedPredictions:
    """Keeps predictions, the newest of them in memory until they are written.

    Args:
        path: The database; is made where there is none.
        keep_days: How long.
        most: How many; the oldest go first.

    Raises:
        StateError: The database cannot be opened.
    """

    def __init__(self, path: Path, *, keep_days: float, most: int) -> None:
        self.keep_days = keep_days
        self.most = most
        self._new: dict[str, Remembered] = {}
        # One thread has the connection.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="predictions")
        try:
            self._database = self._thread.submit(_opened, path).result()
        except (sqlite3.DatabaseError, OSError) as error:
            self._thread.shutdown()
            raise StateError(
                f"{path} cannot be opened: {error}; make room, or delete it (predictions of before "
                "cannot get feedback then)"
            ) from error
        self._writer: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Write from now on, every now and then."""
        self._writer = asyncio.create_task(self._write_on())

    def note(self, predictions: Sequence[Remembered]) -> None:
        """Keep predictions; they are written a moment later."""
        if self.keep_days:
            self._new.update((one.id, one) for one in predictions)

    async def get(self, id_: str) -> Remembered | None:
        """One by its id; None: it is not known, or not any more."""
        found = self._new.get(id_)
        return found if found is not None else await self._run(lambda: _by_id(self._database, id_))

    async def decide(self, one: Remembered, verdict: str, target: str | None) -> None:
        """Note what somebody said of a prediction; where it has become an example, its text goes."""
        text = None if target is not None else one.text
        self._new.pop(one.id, None)
        decided = replace(one, text=text, verdict=verdict, target=target)
        await self._run(lambda: _write(self._database, [decided]))

    async def to_review(self, tenant: str, *, by: str, limit: int) -> list[Remembered]:
        """Predictions that somebody should look at.

        Args:
            tenant: Whose.
            by: "unsure" (the least probable first), "unfamiliar" (unlike everything that was learned), or
                "wrong" (of which somebody said so, and nobody what is right).
            limit: How many.
        """
        await self.flush()
        return await self._run(lambda: _to_review(self._database, tenant, by, limit))

    async def forget(self, ids: Sequence[str], tenant: str) -> int:
        """Delete predictions; returns how many there were."""
        await self.flush()
        return await self._run(lambda: _forget(self._database, ids, tenant))

    async def forget_tenant(self, tenant: str) -> int:
        """Delete all of a tenant's."""
        await self.flush()
        return await self._run(lambda: _forget_tenant(self._database, tenant))

    async def count(self) -> int:
        """How many are kept."""
        await self.flush()
        return await self._run(lambda: _count(self._database))

    async def flush(self) -> None:
        """Write what is in memory."""
        new, written = list(self._new.values()), dict(self._new)
        if not new:
            return
        await self._run(lambda: _write(self._database, new))
        for id_, one in written.items():
            if self._new.get(id_) is one:
                del self._new[id_]

    async def close(self) -> None:
        """Write what is in memory, and close the database."""
        if self._writer is not None:
            self._writer.cancel()
        try:
            await self.flush()
        except Problem as problem:
            _LOG.warning("the newest predictions are not kept: %s", problem)
        await self._run(self._database.close)
        self._thread.shutdown()

    async def _write_on(self) -> None:
        swept, is_failing = 0.0, False
        while True:
            await asyncio.sleep(_SECONDS_BETWEEN_WRITES)
            try:
                await self.flush()
                if time.monotonic() - swept > _SECONDS_BETWEEN_SWEEPS:
                    swept = time.monotonic()
                    await self._run(lambda: _sweep(self._database, self.keep_days, self.most))
                is_failing = False
            except Problem as problem:  # they stay in memory, as many as may, and are written when that works
                if not is_failing:
                    _LOG.warning("predictions cannot be written: %s", problem)
                is_failing = True
                for id_ in list(self._new)[: max(0, len(self._new) - _MOST_UNWRITTEN)]:
                    del self._new[id_]

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except sqlite3.OperationalError as error:
            raise Problem("storage-full", f"remembered predictions: {error}", retry_after=5) from error
        except sqlite3.DatabaseError as error:
            raise Problem("state-damaged", f"remembered predictions: {error}") from error


def _opened(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(path)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    database.execute("PRAGMA secure_delete = ON")  # what is deleted is not to be found in the file
    database.executescript(_SCHEMA)
    database.execute(f"PRAGMA user_version = {_FORMAT}")
    database.commit()
    return database


_COLUMNS = (
    "id, tenant, time, text, label, probability, outlier_score, is_outlier, version, step, target, verdict"
)


def _row(one: Remembered) -> tuple[Any, ...]:
    return tuple(getattr(one, name) for name in _COLUMNS.split(", "))


def _of_row(row: tuple[Any, ...]) -> Remembered:
    found = Remembered(*row)
    return replace(found, is_outlier=bool(found.is_outlier))


def _write(database: sqlite3.Connection, predictions: Sequence[Remembered]) -> None:
    marks = ", ".join("?" * len(_COLUMNS.split(", ")))
    with database:
        database.executemany(
            f"INSERT INTO predictions ({_COLUMNS}) VALUES ({marks}) ON CONFLICT (id) DO UPDATE SET "
            "text = excluded.text, target = excluded.target, verdict = excluded.verdict",
            [_row(one) for one in predictions],
        )


def _by_id(database: sqlite3.Connection, id_: str) -> Remembered | None:
    row = database.execute(f"SELECT {_COLUMNS} FROM predictions WHERE id = ?", (id_,)).fetchone()
    return None if row is None else _of_row(row)


def _to_review(database: sqlite3.Connection, tenant: str, by: str, limit: int) -> list[Remembered]:
    order = {
        "unsure": "verdict IS NULL AND probability IS NOT NULL ORDER BY probability",
        "unfamiliar": "verdict IS NULL AND is_outlier ORDER BY outlier_score DESC",
        "wrong": "verdict = 'wrong' ORDER BY time DESC",
    }[by]
    rows = database.execute(
        f"SELECT {_COLUMNS} FROM predictions WHERE tenant = ? AND text IS NOT NULL AND {order} LIMIT ?",
        (tenant, limit),
    )
    return [_of_row(row) for row in rows]


def _forget(database: sqlite3.Connection, ids: Sequence[str], tenant: str) -> int:
    count = 0
    with database:
        for id_ in ids:
            count += database.execute(
                "DELETE FROM predictions WHERE id = ? AND tenant = ?", (id_, tenant)
            ).rowcount
    _empty_log(database)
    return count


def _forget_tenant(database: sqlite3.Connection, tenant: str) -> int:
    with database:
        count = database.execute("DELETE FROM predictions WHERE tenant = ?", (tenant,)).rowcount
    _empty_log(database)
    return count


def _empty_log(database: sqlite3.Connection) -> None:
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _count(database: sqlite3.Connection) -> int:
    return int(database.execute("SELECT COUNT(*) FROM predictions").fetchone()[0])


def _sweep(database: sqlite3.Connection, keep_days: float, most: int) -> None:
    with database:
        database.execute("DELETE FROM predictions WHERE time < ?", (time.time() - keep_days * 86_400,))
        database.execute(
            "DELETE FROM predictions WHERE number <= (SELECT MAX(number) FROM predictions) - ?", (most,)
        )
