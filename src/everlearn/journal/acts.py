"""Who has changed a run: one row an act, written in the transaction that makes the change.

An act is asked for before the change (:meth:`Acts.noting`) and becomes a row together with it: neither a
crash nor a full disk can leave the one without the other, and no second write to the disk is waited for.
Examples are named by their offsets, so a deleted example's id is in no act, without anything to do for it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from everlearn.journal.checksums import canonical_json, checksum
from everlearn.journal.database import Database
from everlearn.journal.examples import Examples
from everlearn.journal.rows.example_rows import verified
from everlearn.types import Json

__all__ = ["ACTS_SINCE", "MOST_NAMED", "Act", "Acts", "AskedAct"]

ACTS_SINCE = 4
"""The format that has the table; a reader finds no acts in a journal of an older one."""

MOST_NAMED = 20
"""Most examples that an act names; all are counted."""

_OF_EXAMPLES = frozenset({"learn", "correct", "rename"})
"""Acts that are noted only where an example came, or changed."""

_COLUMNS = "number, time, author, kind, step, num_examples, offsets, detail, crc"


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedAct:
    """What somebody is about to do.

    Attributes:
        author: Who; the name of a key.
        kind: What: "learn", "correct", "rename", "forget", "rollback", "review", "quota" …
        ids: The examples that it concerns.
        detail: The rest; bounded, and without a word of any text.
    """

    author: str
    kind: str
    ids: Sequence[str] = ()
    detail: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What somebody has done.

    Attributes:
        number: Its place; grows.
        time: When (UTC, ISO 8601).
        author: Who.
        kind: What.
        step: The journal's newest step then.
        num_examples: Examples that it concerned.
        ids: Of the first of them, but for those that are deleted by now.
        detail: The rest.
    """

    number: int
    time: str
    author: str
    kind: str
    step: int
    num_examples: int
    ids: tuple[str, ...]
    detail: Mapping[str, Json]

    def to_json(self) -> dict[str, Json]:
        """As it is told."""
        return {
            "number": self.number,
            "time": self.time,
            "author": self.author,
            "kind": self.kind,
            "step": self.step,
            "examples": self.num_examples,
            "ids": list(self.ids),
            "detail": dict(self.detail),
        }


@dataclass(slots=True, eq=False)
class _Pending:
    asked: AskedAct
    number: int = 0


@dataclass(frozen=True, slots=True)
class _Extent:
    """How far a journal is."""

    step: int
    offset: int
    revision: int
    decision: int

    @property
    def newest(self) -> tuple[int, int, int]:
        return self.step, self.revision, self.decision


class Acts:
    """The table of acts.

    Args:
        database: The journal's.
        examples: The same.
    """

    def __init__(self, database: Database, examples: Examples) -> None:
        self._database = database
        self._examples = examples
        self._pending: list[_Pending] = []
        self._begin = _Extent(0, 0, 0, 0)

    @contextmanager
    def noting(self, asked: Sequence[AskedAct]) -> Iterator[None]:
        """Note what is done within the block, in the transactions that do it; nothing where it fails."""
        self._begin = self._extent()
        self._pending = [_Pending(one) for one in asked]
        self._database.before_commit = self._note
        try:
            yield
        finally:
            self._database.before_commit = None
            pending, self._pending = self._pending, []
        # What changes neither steps nor history, as settling a flag does.
        left = [one for one in pending if one.asked.kind not in _OF_EXAMPLES and not self._is_written(one)]
        if left:
            with self._database.transaction():
                for one in left:
                    self._write(one, self._extent())

    def after(
        self,
        number: int | None,
        limit: int,
        *,
        kind: str | None = None,
        author: str | None = None,
        newest_first: bool = False,
    ) -> list[Act]:
        """Acts behind one, in order.

        Args:
            number: The one that they are behind (before it, where the newest come first); None: from the
                beginning.
            limit: Most of them.
            kind: Only those of this kind; None: of any.
            author: Only those of this author; None: of anybody.
            newest_first: The order.
        """
        if self._database.version < ACTS_SINCE:
            return []
        ways, values = ["1"], list[object]()
        for way, value in (
            ("number < ?" if newest_first else "number > ?", number),
            ("kind = ?", kind),
            ("author = ?", author),
        ):
            if value is not None:
                ways.append(way)
                values.append(value)
        rows = self._database.all(
            f"SELECT {_COLUMNS} FROM acts WHERE {' AND '.join(ways)} "
            f"ORDER BY number {'DESC' if newest_first else 'ASC'} LIMIT ?",
            (*values, limit),
        )
        return [self._act_of(row) for row in rows]

    def rewind(self, step: int) -> None:
        """Take out those of steps that are taken back, within a transaction."""
        self._database.execute("DELETE FROM acts WHERE step > ?", (step,))

    def _note(self) -> None:
        """A transaction is about to be committed: it takes with it the rows of what it does."""
        now = self._extent()
        if now.newest == self._begin.newest:
            return
        for one in self._pending:
            if not self._is_written(one):
                self._write(one, now)

    def _write(self, one: _Pending, now: _Extent) -> None:
        asked, detail = one.asked, dict(one.asked.detail)
        offsets = self._offsets(asked, now)
        count = len(offsets)
        if asked.kind in _OF_EXAMPLES and not offsets:
            return
        if now.revision > self._begin.revision:
            detail["revision"] = now.revision
            told = self._database.one("SELECT detail FROM revisions WHERE revision = ?", (now.revision,))[0]
            count = int(json.loads(told).get("num_forgotten", count))
        number = int(self._database.one("SELECT COALESCE(MAX(number), 0) + 1 FROM acts")[0])
        values = (
            number,
            self._database.now(),
            asked.author,
            asked.kind,
            now.step,
            count,
            canonical_json(offsets[:MOST_NAMED]),
            canonical_json(detail),
        )
        self._database.execute("INSERT INTO acts VALUES (?,?,?,?,?,?,?,?,?)", (*values, checksum(*values)))
        one.number = number

    def _offsets(self, asked: AskedAct, now: _Extent) -> list[int]:
        """Where the examples are that it concerns: of what is learned, those that are new, or changed."""
        named = sorted(row[0] for row in self._examples.named(list(asked.ids))) if asked.ids else []
        if asked.kind not in _OF_EXAMPLES:
            return named
        changed = {
            row[0]
            for row in self._database.rows(
                "SELECT offset FROM changes WHERE step > ? AND step <= ?", (self._begin.step, now.step)
            )
        }
        return [offset for offset in named if offset > self._begin.offset or offset in changed]

    def _is_written(self, one: _Pending) -> bool:
        """Whether its row is there: a step that is taken back takes it along."""
        if not one.number:
            return False
        row = self._database.first("SELECT author FROM acts WHERE number = ?", (one.number,))
        return row is not None

    def _extent(self) -> _Extent:
        row = self._database.one(
            "SELECT (SELECT COALESCE(MAX(step), 0) FROM steps), "
            "(SELECT COALESCE(MAX(offset), 0) FROM examples), "
            "(SELECT COALESCE(MAX(revision), 0) FROM revisions), "
            "(SELECT COALESCE(MAX(decision), 0) FROM decisions)"
        )
        return _Extent(*(int(value) for value in row))

    def _act_of(self, row: tuple[object, ...]) -> Act:
        number, time, author, kind, step, count, offsets, detail = verified(row, "acts")
        ids = []
        for offset in json.loads(str(offsets)):
            found = self._database.first("SELECT id FROM examples WHERE offset = ?", (offset,))
            if found is not None:
                ids.append(str(found[0]))
        return Act(
            number=int(str(number)),
            time=str(time),
            author=str(author),
            kind=str(kind),
            step=int(str(step)),
            num_examples=int(str(count)),
            ids=tuple(ids),
            detail=json.loads(str(detail)),
        )
