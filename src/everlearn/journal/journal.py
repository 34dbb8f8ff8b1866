"""The journal: every example and every step of a run, durable before the step is made.

``state = fold(step, initial state, journal)``: what is recorded here is enough to make every step again
with identical batches. One file, SQLite in WAL mode; one writer, any number of readers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Self

from everlearn.journal.acts import Acts
from everlearn.journal.chain import LinkedStep, link
from everlearn.journal.checksums import canonical_json, checksum
from everlearn.journal.database import BUSY_SECONDS, Database, Row
from everlearn.journal.deletion.certificates import Certificates
from everlearn.journal.deletion.deleted_ids import DeletedIds
from everlearn.journal.examples import Examples
from everlearn.journal.generations import Generations
from everlearn.journal.history import History
from everlearn.journal.records import Change, KnownExample, NewStep, Step
from everlearn.journal.rows.earlier_rows import restore_earlier_rows
from everlearn.journal.rows.flags import Flags
from everlearn.journal.rows.rejections import Rejections, without_deleted
from everlearn.journal.rows.step_rows import (
    STEP_COLUMNS,
    ArrivalRows,
    insert_flags,
    insert_rejections,
    insert_step,
    step_of,
    stored_after,
)
from everlearn.journal.standing.standings import Standings
from everlearn.types import Json

__all__ = ["DROPPED_TO", "Journal"]

DROPPED_TO = "texts_dropped_to"
"""Key in ``meta``: up to this offset texts were dropped, but for those that were to be left."""

_ROWS_AT_ONCE = 512


class Journal:
    """The journal of a run.

    Args:
        database: Its file, opened.

    Attributes:
        database: The file. Whoever asks it for something does so within ``everlearn.journal``.
        history: Its checkpoints, versions and decisions.
        generations: Its codes by tuned trunks.
        examples: Its examples.
        standings: How each of them stands.
        deleted_ids: What stays of deleted ids.
        flags: What looked suspicious.
        rejections: What is kept of records that gave no example.
        certificates: Of deletions.
        acts: Who has changed what.

    Raises:
        StateError: (any method) Something in it is damaged.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.history = History(database)
        self.generations = Generations(database)
        self.examples = Examples(database, self.generations)
        self.standings = Standings(database)
        self.deleted_ids = DeletedIds(database)
        self.flags = Flags(database)
        self.rejections = Rejections(database)
        self.certificates = Certificates(database)
        self.acts = Acts(database, self.examples)
        with database.snapshot():
            self.look_again()
        database.after_rollback = self.look_again

    @classmethod
    def create(cls, path: Path) -> Journal:
        """Make a new journal."""
        return cls(Database.create(path))

    @classmethod
    def open_to_write(cls, path: Path) -> Journal:
        """Open a journal, bringing an older format up to date. Raises as ``Database.open_to_write``."""
        return cls(Database.open_to_write(path))

    @classmethod
    def open_to_read(cls, path: Path) -> Journal:
        """Open a journal that another process may be writing. Raises as ``Database.open_to_read``."""
        return cls(Database.open_to_read(path))

    def look_again(self) -> None:
        """Look where the journal ends, for a reader beside a process that writes it.

        What a reader is given later ends there too, however far the writer has come.
        """
        self._sources = {
            key: source
            for source, key in self.database.rows("SELECT source, key FROM sources ORDER BY source")
        }
        self._last_step, self._chain, self._next_offset = self._end()
        self.generations.look_again()

    @property
    def last_step(self) -> int:
        """Number of the newest step; 0: there is none."""
        return self._last_step

    @property
    def next_offset(self) -> int:
        """Offset that the next example will have."""
        return self._next_offset

    @property
    def generation(self) -> int:
        """The generation of codes that counts; examples are given with these unless another is asked for."""
        return self.generations.current

    @property
    def chain(self) -> bytes:
        """Stands for everything journaled so far."""
        return self._chain

    def chain_of(self, step: int) -> bytes | None:
        """The chain after a step; None where there is no such step."""
        if step == 0:
            return b""
        row = self.database.first("SELECT chain FROM steps WHERE step = ?", (step,))
        return row[0] if row else None

    # Writing

    def append(self, new: NewStep, *, keep_text: bool) -> Step:
        """Journal a step in one transaction; when this has returned, it is on the disk.

        Args:
            new: The step.
            keep_text: Whether the texts of the examples are kept.
        """
        database, number, first = self.database, self._last_step + 1, self._next_offset
        last = first + len(new.arrivals) - 1
        rows = ArrivalRows.of(new, number, first, keep_text=keep_text)
        content = LinkedStep(
            source=new.source,
            progress=None if new.progress is None else canonical_json(dict(new.progress)),
            learned=new.learned or (None, None),
            after=stored_after(new.after),
            num_rejected=len(new.rejected),
            example_crcs=[row[-1] for row in rows.examples],
            code_crcs=[row[-1] for row in rows.codes],
            changes=[(change.offset, change.kind, change.previous, change.target) for change in new.changes],
        )
        chain = link(self._chain, content)
        with database.transaction():
            step = Step(
                step=number,
                source=new.source,
                progress=new.progress,
                arrived=(first, last) if new.arrivals else None,
                learned=new.learned,
                num_rejected=len(new.rejected),
                after=new.after,
                set_aside=None,
                time=database.now(),
                chain=chain,
            )
            insert_step(database, step, None if new.source is None else self._source(new.source))
            rows.insert(database)
            for change in new.changes:
                self._insert_change(number, change)
            insert_flags(database, number, new.flags)
            insert_rejections(database, number, without_deleted(new.rejected, self.deleted_ids))
        self._last_step, self._chain, self._next_offset = number, chain, last + 1
        return step

    def rewind(self, step: int) -> None:
        """Take everything out that came after a step, as if it had never come."""
        database = self.database
        with database.transaction():
            restore_earlier_rows(database, step)
            row = database.first(
                "SELECT offset FROM examples WHERE offset > ? AND step > ? ORDER BY offset LIMIT 1",
                (self.last_offset_of(step), step),
            )
            if row is not None:
                first = row[0]
                for table in ("codes", "texts", "predictions", "flags", "examples"):
                    database.execute(f"DELETE FROM {table} WHERE offset >= ?", (first,))
                # Offsets are given again, so nothing of theirs may stay.
                self.generations.drop_codes_from(first)
                if int(self.meta(DROPPED_TO) or 0) >= first:
                    self.set_meta(DROPPED_TO, str(first - 1))
            for table in ("changes", "rejections", "steps", "checkpoints", "versions", "decisions"):
                database.execute(f"DELETE FROM {table} WHERE step > ?", (step,))
            self.acts.rewind(step)
        self._last_step, self._chain, self._next_offset = self._end()

    # Reading

    def step(self, number: int) -> Step:
        """A step by its number."""
        row = self.database.one(f"SELECT {STEP_COLUMNS} FROM steps WHERE step = ?", (number,))
        return self._step_of(row)

    def steps_after(self, number: int) -> Iterator[Step]:
        """All steps after this one, in order, up to ``last_step``."""
        while True:
            rows = self.database.all(
                f"SELECT {STEP_COLUMNS} FROM steps WHERE step > ? AND step <= ? "
                f"ORDER BY step LIMIT {_ROWS_AT_ONCE}",
                (number, self._last_step),
            )
            if not rows:
                return
            for row in rows:
                yield self._step_of(row)
            number = rows[-1][0]

    def progress(self) -> dict[str, Mapping[str, Json]]:
        """How far the run is in each stream, by the stream's key, in the order of first use."""
        found = {}
        for key, source in self._sources.items():
            row = self.database.first(
                "SELECT progress FROM steps WHERE source = ? ORDER BY step DESC LIMIT 1", (source,)
            )
            if row is not None:
                found[key] = json.loads(row[0])
        return found

    def known(self, ids: Sequence[str]) -> dict[str, KnownExample]:
        """What the journal knows of ids; those it does not know are left out."""
        found = {}
        for offset, id_, role, target in self.examples.named(ids):
            standing = self.standings.of(offset, role, target)
            found[id_] = KnownExample(
                offset=offset,
                role=role,
                target=self.standings.present_target(offset, target),
                is_held=standing.is_held,
                is_waiting=standing.is_waiting,
            )
        return found

    def num_examples(self) -> int:
        """Examples in the journal."""
        row = self.database.one("SELECT COUNT(*) FROM examples WHERE offset < ?", (self._next_offset,))
        return int(row[0])

    def last_offset_of(self, step: int) -> int:
        """The last offset after a step; 0: there was none."""
        row = self.database.first(
            "SELECT last_offset FROM steps WHERE step <= ? AND last_offset IS NOT NULL "
            "ORDER BY step DESC LIMIT 1",
            (step,),
        )
        return 0 if row is None else int(row[0])

    def meta(self, key: str) -> str | None:
        """A single value kept under a key."""
        row = self.database.first("SELECT value FROM meta WHERE key = ?", (key,))
        return row[0] if row else None

    def set_meta(self, key: str, value: str) -> None:
        """Keep a single value under a key."""
        self.database.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    @property
    def num_bytes(self) -> int:
        """Size of the file, what lies in the write-ahead log left out."""
        return self.database.path.stat().st_size

    def transaction(self) -> AbstractContextManager[None]:
        """All that is written within the block or nothing, see ``Database.transaction``."""
        return self.database.transaction()

    def snapshot(self) -> AbstractContextManager[None]:
        """All that is read within the block is of one moment, see ``Database.snapshot``."""
        return self.database.snapshot()

    def empty_log(self, wait_seconds: float = BUSY_SECONDS) -> bool:
        """Leave nothing in the write-ahead log, see ``Database.empty_log``; whether it is so now."""
        return self.database.empty_log(wait_seconds)

    def close(self) -> None:
        """Close the file."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _end(self) -> tuple[int, bytes, int]:
        """Newest step, its chain, and the next offset."""
        row = self.database.first("SELECT step, chain FROM steps ORDER BY step DESC LIMIT 1")
        step, chain = row if row is not None else (0, b"")
        largest = self.database.one("SELECT COALESCE(MAX(offset), 0) FROM examples")[0]
        return int(step), chain, max(self.last_offset_of(step), int(largest)) + 1

    def _source(self, key: str) -> int:
        if key not in self._sources:
            row = self.database.first("SELECT source FROM sources WHERE key = ?", (key,))
            if row is None:
                self.database.execute("INSERT INTO sources (key) VALUES (?)", (key,))
                row = self.database.one("SELECT source FROM sources WHERE key = ?", (key,))
            self._sources[key] = row[0]
        return int(self._sources[key])

    def _insert_change(self, step: int, change: Change) -> None:
        number = self.database.one("SELECT COALESCE(MAX(number), 0) + 1 FROM changes")[0]
        values = (number, step, change.offset, change.kind, change.previous, change.target)
        self.database.execute("INSERT INTO changes VALUES (?,?,?,?,?,?,?)", (*values, checksum(*values)))

    def _step_of(self, row: Row) -> Step:
        source = row[1]
        key = next((key for key, number in self._sources.items() if number == source), None)
        if source is not None and key is None:
            # Another process has begun on a stream since this journal was opened.
            key = self.database.one("SELECT key FROM sources WHERE source = ?", (source,))[0]
            self._sources[key] = source
        return step_of(row, key)
