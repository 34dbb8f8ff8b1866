"""The journal: every example and every step of a run, durable before the step is made.

``state = fold(step, initial state, journal)``: what is recorded here is enough to make every step again
with identical batches. One file, SQLite in WAL mode; one writer, any number of readers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from everlearn.errors import StateError
from everlearn.journal.chain import LinkedStep, link, step_holds
from everlearn.journal.checksums import canonical_json, checksum
from everlearn.journal.database import BUSY_SECONDS, REPAIR_ADVICE, Database, Row
from everlearn.journal.deletion.certificates import Certificates
from everlearn.journal.deletion.deleted_ids import DeletedIds
from everlearn.journal.generations import Generations, generation_at, read_switches, with_codes_of
from everlearn.journal.history import History
from everlearn.journal.records import (
    Arrival,
    Change,
    FoldStep,
    KnownExample,
    NewStep,
    Refused,
    Step,
)
from everlearn.journal.rows.earlier_rows import restore_earlier_rows
from everlearn.journal.rows.example_rows import ARRIVAL_COLUMNS, ARRIVAL_JOINS, arrival_of, verified
from everlearn.journal.rows.flags import Flags
from everlearn.journal.rows.refusals import Refusals, without_deleted
from everlearn.journal.rows.step_rows import (
    STEP_COLUMNS,
    ArrivalRows,
    insert_flags,
    insert_refused,
    insert_step,
    step_of,
    stored_after,
)
from everlearn.journal.standing.standing import ChangeOf, Standing, targets_held
from everlearn.types import Example, Json

__all__ = ["DROPPED_TO", "Journal"]

DROPPED_TO = "texts_dropped_to"
"""Key in ``meta``: up to this offset texts were dropped, but for those that were to be left."""

_EXAMPLE_COLUMNS = "e.offset, e.id, e.step, e.role, e.target, e.domain, e.time, e.fields, e.crc"
_CHANGE_COUNTS = "(s.set_aside IS NULL OR c.kind = 'pending')"
_ROWS_AT_ONCE = 512


class Journal:
    """The journal of a run.

    Args:
        database: Its file, opened.

    Attributes:
        database: The file. Whoever asks it for something does so within ``everlearn.journal``.
        history: Its checkpoints, versions and decisions.
        generations: Its codes by tuned trunks.
        deleted_ids: What stays of deleted ids.
        flags: What looked suspicious.
        refusals: What is kept of records that gave no example.
        certificates: Of deletions.

    Raises:
        StateError: (any method) Something in it is damaged.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.history = History(database)
        self.generations = Generations(database)
        self.deleted_ids = DeletedIds(database)
        self.flags = Flags(database)
        self.refusals = Refusals(database)
        self.certificates = Certificates(database)
        with database.snapshot():
            self.look_again()

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
        self.read_generation()

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
        return self._switches[-1].generation if self._switches else 0

    def read_generation(self) -> None:
        """Look again which generation counts: after a change of history that changed it."""
        self._switches = read_switches(self.database)

    def generation_known_to(self, revision: int) -> int:
        """The generation that counted when a revision was the newest."""
        return next(
            (switch.generation for switch in reversed(self._switches) if switch.revision <= revision), 0
        )

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
            num_refused=len(new.refused),
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
                num_rejected=len(new.refused),
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
            insert_refused(database, number, without_deleted(new.refused, self.deleted_ids))
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

    def fold_step(self, step: Step) -> FoldStep:
        """Everything that a fold needs of a step, as it was when the step was made.

        Raises:
            StateError: A row of it was changed on the disk, or is missing without having been deleted.
        """
        if step_holds(self.database, step.step) is False:
            raise StateError(
                f"the journal is damaged: something that came with step {step.step:,} is missing. "
                f"{REPAIR_ADVICE}"
            )
        arrivals = [] if step.arrived is None else self._arrivals(*step.arrived)
        learned: list[Example] = []
        if step.learned is not None:
            due = arrivals if step.learned == step.arrived else self._arrivals(*step.learned)
            learned = self._as_of(step, [arrival for arrival in due if arrival[1].role == "learn"])
        forgotten = []
        num_late_targets = 0
        changed: dict[int, list[Change]] = {}
        for change in self.changes_of(step.step):
            if change.kind != "pending":
                changed.setdefault(change.offset, []).append(change)
        for offset, changes in changed.items():
            example = self.example_at(offset)
            if example is None:  # deleted since
                continue
            # Several in one step: what was held before the first, and what the last one says.
            if changes[0].kind == "correction":
                forgotten.append(example.with_target(changes[0].previous))
            num_late_targets += changes[0].kind == "target"
            learned.append(example.with_target(changes[-1].target))
        return FoldStep(
            step=step,
            arrivals=[arrival for _, arrival in arrivals],
            forgotten=forgotten,
            learned=learned,
            num_late_targets=num_late_targets,
        )

    def changes_of(self, step: int) -> list[Change]:
        """What a step learned out of turn."""
        rows = self.database.rows(
            "SELECT number, step, offset, kind, previous, target, crc FROM changes WHERE step = ? "
            "ORDER BY number",
            (step,),
        )
        return [
            Change(*values[2:])  # type: ignore[arg-type]
            for values in (verified(row, "changes") for row in rows)
        ]

    def example_at(self, offset: int, generation: int | None = None) -> Example | None:
        """The example at an offset, with the target that it came with; None where there is none."""
        found = self._arrivals(offset, offset, generation)
        return found[0][1].example if found else None

    def step_of(self, offset: int) -> int:
        """The step that an example came with."""
        return int(self.database.one("SELECT step FROM examples WHERE offset = ?", (offset,))[0])

    def generation_of(self, offset: int) -> int:
        """The generation of the code that an example arrived with."""
        return generation_at(self._switches, self.step_of(offset)) if self._switches else 0

    def has_text(self, offset: int) -> bool:
        """Whether the text of an example is kept."""
        return self.database.first("SELECT 1 FROM texts WHERE offset = ?", (offset,)) is not None

    def lacks_code(self, offset: int) -> bool:
        """Whether an example came with a code, but has none of the generation that counts."""
        if not self._switches:
            return False
        found = self._arrivals(offset, offset)
        has_one = self.database.first("SELECT 1 FROM codes WHERE offset = ?", (offset,)) is not None
        return bool(found) and found[0][1].example.code is None and has_one

    def arrivals(self, first: int, last: int, generation: int | None = None) -> Iterator[tuple[int, Arrival]]:
        """Offsets and examples from one offset to another, targets as they came.

        Args:
            first: The first offset.
            last: The last.
            generation: Of their codes; None: the one that counts.
        """
        while first <= last:
            stop = min(first + _ROWS_AT_ONCE - 1, last)
            yield from self._arrivals(first, stop, generation)
            first = stop + 1

    def known(self, ids: Sequence[str]) -> dict[str, KnownExample]:
        """What the journal knows of ids; those it does not know are left out."""
        rows = self.database.all(
            f"SELECT {_EXAMPLE_COLUMNS} FROM json_each(?) j JOIN examples e ON e.id = j.value",
            (json.dumps(list(ids)),),
        )
        found = {}
        for offset, id_, _, role, target, *_ in (verified(row, "examples") for row in rows):
            standing = self.standing(offset, role, target)  # type: ignore[arg-type]
            found[str(id_)] = KnownExample(
                offset=offset,  # type: ignore[arg-type]
                role=role,  # type: ignore[arg-type]
                target=self.present_target(offset, target),  # type: ignore[arg-type]
                is_held=standing.is_held,
                is_waiting=standing.is_waiting,
            )
        return found

    def present_target(
        self, offset: int, arrived_with: str | None, *, and_of: int | None = None
    ) -> str | None:
        """The target that an example has now; what came with steps that are set aside does not count.

        Args:
            offset: The example's.
            arrived_with: The target that it came with.
            and_of: What this revision has set aside counts too.
        """
        row = self.database.first(
            "SELECT c.target FROM changes c JOIN steps s ON s.step = c.step "
            f"WHERE c.offset = ? AND ({_CHANGE_COUNTS} OR s.set_aside = ?) ORDER BY c.number DESC LIMIT 1",
            (offset, and_of),
        )
        return row[0] if row else arrived_with

    def standing(self, offset: int, role: str, arrived_with: str | None) -> Standing:
        """How an example stands after the newest step: held, waiting for its turn, or neither.

        Args:
            offset: The example's.
            role: What it is for.
            arrived_with: The target that it came with.
        """
        turn = self._turn_of(offset) if role == "learn" else None
        changes = self.database.all(
            "SELECT c.step, c.kind, c.previous, c.target FROM changes c JOIN steps s ON s.step = c.step "
            f"WHERE c.offset = ? AND {_CHANGE_COUNTS} ORDER BY c.number",
            (offset,),
        )
        return Standing(
            targets=targets_held(
                None if turn is None or turn[1] else turn[0],
                arrived_with,
                [ChangeOf(*values) for values in changes],
            ),
            is_waiting=role == "learn" and offset > self.last_learned_in_turn,
        )

    def learned_in(self, offset: int, role: str, arrived_with: str | None) -> list[tuple[int, bool]]:
        """The steps that learned an example, and whether each was set aside."""
        found: list[tuple[int, bool]] = []
        turn = self._turn_of(offset) if role == "learn" else None
        if turn is not None:
            pending = self.database.first(
                "SELECT target FROM changes WHERE offset = ? AND kind = 'pending' AND step <= ? "
                "ORDER BY number DESC LIMIT 1",
                (offset, turn[0]),
            )
            if arrived_with is not None or pending is not None:
                found.append(turn)
        found += [
            (step, set_aside is not None)
            for step, set_aside in self.database.rows(
                "SELECT c.step, s.set_aside FROM changes c JOIN steps s ON s.step = c.step "
                "WHERE c.offset = ? AND c.kind <> 'pending' ORDER BY c.number",
                (offset,),
            )
        ]
        return found

    def _turn_of(self, offset: int) -> tuple[int, bool] | None:
        """The step in which it was an example's turn, and whether it was set aside; None: it is to come."""
        row = self.database.first(
            "SELECT step, learned_first, set_aside FROM steps WHERE learned_last >= ? "
            "ORDER BY learned_last LIMIT 1",
            (offset,),
        )
        return None if row is None or row[1] > offset else (row[0], row[2] is not None)

    def unlearned_since(self, offset: int) -> list[tuple[int, Example]]:
        """Examples from an offset on that are to be learned in turn, with their present targets."""
        return [
            (at, arrival.example.with_target(self.present_target(at, arrival.example.target)))
            for at, arrival in self.arrivals(offset, self._next_offset - 1)
            if arrival.role == "learn"
        ]

    @property
    def last_learned_in_turn(self) -> int:
        """Offset of the last example that was learned in turn; 0: none was."""
        return int(self.database.one("SELECT COALESCE(MAX(learned_last), 0) FROM steps")[0])

    def offsets_of(self, ids: Sequence[str]) -> list[int]:
        """Offsets of the examples with one of these ids, in order."""
        rows = self.database.all(
            f"SELECT {_EXAMPLE_COLUMNS} FROM json_each(?) j JOIN examples e ON e.id = j.value",
            (json.dumps(list(dict.fromkeys(ids))),),
        )
        return sorted(int(str(verified(row, "examples")[0])) for row in rows)

    def offsets_with_field(self, name: str, matches: Callable[[str, Mapping[str, Any]], bool]) -> list[int]:
        """Offsets of the examples whose records have a field of this name, and of whose id and fields
        ``matches`` is true. Reads all records; their codes and texts are not read.
        """
        rows = self.database.rows(
            f"SELECT {_EXAMPLE_COLUMNS} FROM examples e WHERE instr(e.fields, ?) ORDER BY e.offset",
            (json.dumps(name, ensure_ascii=False) + ":",),
        )
        found = []
        for offset, id_, *_, fields in (verified(row, "examples") for row in rows):
            if matches(str(id_), json.loads(str(fields))):
                found.append(int(str(offset)))
        return found

    def rejections(self, *, after: int = 0) -> Iterator[Refused]:
        """All records that gave no example, or those behind one of them."""
        return self.refusals.all(after=after)

    def num_rejections(self) -> int:
        """How many records gave no example."""
        return int(self.database.one("SELECT COUNT(*) FROM rejections")[0])

    def num_examples(self) -> int:
        """Examples in the journal."""
        row = self.database.one("SELECT COUNT(*) FROM examples WHERE offset < ?", (self._next_offset,))
        return int(row[0])

    @property
    def keeps_texts(self) -> bool:
        """Whether the text of any example is kept."""
        return self.database.first("SELECT 1 FROM texts LIMIT 1") is not None

    def num_without_text(self) -> int:
        """Examples that count, or are to be looked at, and whose text is not kept."""
        row = self.database.one(
            "SELECT COUNT(*) FROM examples e JOIN steps s ON s.step = e.step "
            "LEFT JOIN texts t ON t.offset = e.offset WHERE t.offset IS NULL AND (s.set_aside IS NULL OR "
            "EXISTS (SELECT 1 FROM changes c WHERE c.offset = e.offset AND c.kind <> 'pending'))"
        )
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

    def _arrivals(self, first: int, last: int, generation: int | None = None) -> list[tuple[int, Arrival]]:
        rows = self.database.all(
            f"SELECT {ARRIVAL_COLUMNS} FROM {ARRIVAL_JOINS} WHERE e.offset BETWEEN ? AND ? ORDER BY e.offset",
            (first, last),
        )
        wanted = self.generation if generation is None else generation
        if not self._switches and not wanted:
            return [(row[0], arrival_of(row)) for row in rows]
        arrivals = [(row[0], row[2], arrival_of(row)) for row in rows]
        return with_codes_of(self.database, self._switches, wanted, arrivals)

    def _as_of(self, step: Step, arrivals: Sequence[tuple[int, Arrival]]) -> list[Example]:
        """Examples learned in turn, with the targets that they had by then."""
        if not arrivals:
            return []
        changed: dict[int, str] = dict(
            self.database.rows(
                "SELECT offset, target FROM changes WHERE offset BETWEEN ? AND ? AND kind = 'pending' "
                "AND step <= ? ORDER BY number",
                (arrivals[0][0], arrivals[-1][0], step.step),
            )
        )
        return [
            arrival.example.with_target(changed.get(offset, arrival.example.target))
            for offset, arrival in arrivals
        ]
