"""What became of the fold: checkpoints, versions, decisions, and changes of history."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from everlearn.journal.checksums import canonical_json, checksum
from everlearn.journal.database import Database, Row
from everlearn.journal.history_records import CheckpointRecord, Decision, Revision, Version
from everlearn.journal.rows.example_rows import verified
from everlearn.types import Json

__all__ = ["History", "Revised"]

_VERSION_COLUMNS = (
    "version, parent, step, revision, file, status, reason, fingerprint, num_examples, scores, author, "
    "time, crc"
)
_STEP_VALUES = (
    "step, source, progress, first_offset, last_offset, learned_first, learned_last, num_rejected, after, "
    "set_aside, time, chain"
)


class Revised(NamedTuple):
    """What several changes of history concern.

    Attributes:
        first_step: The first step that any of them does.
        last_revision: The newest of them.
    """

    first_step: int
    last_revision: int


class History:
    """The tables of a journal that tell of saved states and of what was decided.

    Args:
        database: The journal's.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    # Checkpoints

    def checkpoints(self) -> list[CheckpointRecord]:
        """All that are recorded, newest first."""
        rows = self._database.all(
            "SELECT file, step, revision, chain, sha256, bytes, time, generation FROM checkpoints "
            "ORDER BY step DESC, revision DESC, time DESC, LENGTH(file) DESC, file DESC"
        )
        return [
            CheckpointRecord(
                file=file,
                step=step,
                revision=revision,
                chain=chain,
                sha256=sha256,
                num_bytes=size,
                time=time,
                generation=generation,
            )
            for file, step, revision, chain, sha256, size, time, generation in rows
        ]

    def add_checkpoint(self, record: CheckpointRecord) -> None:
        """Record a checkpoint whose file is on the disk."""
        self._database.execute(
            "INSERT OR REPLACE INTO checkpoints VALUES (?,?,?,?,?,?,?,?)",
            (
                record.file,
                record.step,
                record.revision,
                record.chain,
                record.sha256,
                record.num_bytes,
                record.time,
                record.generation,
            ),
        )

    def remove_checkpoint(self, file: str) -> None:
        """Strike a checkpoint off."""
        self._database.execute("DELETE FROM checkpoints WHERE file = ?", (file,))

    def is_current(self, step: int, revision: int) -> bool:
        """Whether a state after ``step`` that knows of ``revision`` is still a fold of the journal."""
        row = self._database.first(
            "SELECT 1 FROM revisions WHERE revision > ? AND first_step <= ? LIMIT 1", (revision, step)
        )
        return row is None

    # Versions

    def versions(self) -> list[Version]:
        """All versions, oldest first."""
        return [
            _version_of(row)
            for row in self._database.all(f"SELECT {_VERSION_COLUMNS} FROM versions ORDER BY version")
        ]

    def version(self, number: int) -> Version | None:
        """A version by its number."""
        row = self._database.first(f"SELECT {_VERSION_COLUMNS} FROM versions WHERE version = ?", (number,))
        return None if row is None else _version_of(row)

    def add_version(
        self,
        *,
        parent: int | None,
        step: int,
        file: str,
        reason: str,
        fingerprint: str,
        num_examples: int,
        scores: Mapping[str, Json],
        author: str,
    ) -> Version:
        """Record a version."""
        with self._database.transaction():
            number = self._database.one("SELECT COALESCE(MAX(version), 0) + 1 FROM versions")[0]
            version = Version(
                version=number,
                parent=parent,
                step=step,
                revision=self.last_revision,
                file=file,
                status="kept",
                reason=reason,
                fingerprint=fingerprint,
                num_examples=num_examples,
                scores=scores,
                author=author,
                time=self._database.now(),
            )
            self.write_version(version)
        return version

    def write_version(self, version: Version) -> None:
        """Write a version's row, in place of one with its number."""
        values = (
            version.version,
            version.parent,
            version.step,
            version.revision,
            version.file,
            version.status,
            version.reason,
            version.fingerprint,
            version.num_examples,
            canonical_json(dict(version.scores)),
            version.author,
            version.time,
        )
        self._database.execute(
            f"INSERT OR REPLACE INTO versions ({_VERSION_COLUMNS}) VALUES ({', '.join('?' * 13)})",
            (*values, checksum(*values)),
        )

    # Revisions

    @property
    def last_revision(self) -> int:
        """Number of the newest change of history; 0: there was none."""
        return int(self._database.one("SELECT COALESCE(MAX(revision), 0) FROM revisions")[0])

    def revisions(self) -> list[Revision]:
        """All changes of history, oldest first."""
        rows = self._database.all(
            "SELECT revision, kind, first_step, last_step, reason, detail, time, crc FROM revisions "
            "ORDER BY revision"
        )
        found = []
        for row in rows:
            revision, kind, first, last, reason, detail, time = verified(row, "revisions")
            found.append(
                Revision(
                    revision=revision,  # type: ignore[arg-type]
                    kind=str(kind),
                    first_step=first,  # type: ignore[arg-type]
                    last_step=last,  # type: ignore[arg-type]
                    reason=str(reason),
                    detail=json.loads(str(detail)),
                    time=str(time),
                )
            )
        return found

    def revised_since(self, revision: int) -> Revised | None:
        """What the changes of history after one concern; None: there was none."""
        row = self._database.one(
            "SELECT MIN(first_step), MAX(revision) FROM revisions WHERE revision > ?", (revision,)
        )
        return None if row[0] is None else Revised._make(row)

    def revise(
        self, kind: str, first_step: int, last_step: int, reason: str, detail: Mapping[str, Json]
    ) -> int:
        """Record a change of history; returns its number."""
        with self._database.transaction():
            number = self.last_revision + 1
            values = (
                number,
                kind,
                first_step,
                last_step,
                reason,
                canonical_json(dict(detail)),
                self._database.now(),
            )
            self._database.execute(
                "INSERT INTO revisions VALUES (?,?,?,?,?,?,?,?)", (*values, checksum(*values))
            )
        return number

    def num_forgotten(self) -> int:
        """Examples that were deleted so far."""
        return sum(
            int(revision.detail.get("num_forgotten", 0))
            for revision in self.revisions()
            if revision.kind == "deletion"
        )

    def set_aside(
        self, first_step: int, last_step: int, revision: int, *, but_readmissions: bool = False
    ) -> list[int]:
        """Take steps out of the fold (those that are in it); returns their numbers.

        Args:
            first_step: The first.
            last_step: The last.
            revision: That says so.
            but_readmissions: Leave steps that readmit examples: those were judged by themselves.
        """
        condition = "step BETWEEN ? AND ? AND set_aside IS NULL"
        if but_readmissions:
            condition += (
                " AND NOT EXISTS "
                "(SELECT 1 FROM changes c WHERE c.step = steps.step AND c.kind = 'readmitted')"
            )
        return self._mark(condition, (first_step, last_step), revision)

    def _mark(self, condition: str, values: Sequence[object], revision: int | None) -> list[int]:
        with self._database.transaction():
            rows = self._database.all(
                f"SELECT {_STEP_VALUES} FROM steps WHERE {condition} ORDER BY step", values
            )
            for row in rows:
                changed = (*row[:9], revision, *row[10:])
                self._database.execute(
                    "UPDATE steps SET set_aside = ?, crc = ? WHERE step = ?",
                    (revision, checksum(*changed), row[0]),
                )
        return [row[0] for row in rows]

    # Decisions

    def decisions(self) -> list[Decision]:
        """All decisions, oldest first."""
        rows = self._database.all(
            "SELECT decision, step, first_step, kind, verdict, reason, numbers, time, crc FROM decisions "
            "ORDER BY decision"
        )
        return [_decision_of(row) for row in rows]

    def newest_decisions(self) -> Iterator[Decision]:
        """The newest first, read as they are asked for."""
        for row in self._database.rows(
            "SELECT decision, step, first_step, kind, verdict, reason, numbers, time, crc FROM decisions "
            "ORDER BY decision DESC"
        ):
            yield _decision_of(row)

    def decide(
        self,
        *,
        step: int,
        first_step: int,
        kind: str,
        verdict: str,
        reason: str,
        numbers: Mapping[str, Json],
    ) -> Decision:
        """Record a decision."""
        with self._database.transaction():
            number = self._database.one("SELECT COALESCE(MAX(decision), 0) + 1 FROM decisions")[0]
            time = self._database.now()
            values = (
                number,
                step,
                first_step,
                kind,
                verdict,
                reason,
                canonical_json(dict(numbers)),
                time,
            )
            self._database.execute(
                "INSERT INTO decisions VALUES (?,?,?,?,?,?,?,?,?)", (*values, checksum(*values))
            )
        return Decision(
            decision=number,
            step=step,
            first_step=first_step,
            kind=kind,
            verdict=verdict,
            reason=reason,
            numbers=numbers,
            time=time,
        )


def _version_of(row: Row) -> Version:
    number, parent, step, revision, file, status, reason, fingerprint, count, scores, author, time = verified(
        row, "versions"
    )
    return Version(
        version=number,  # type: ignore[arg-type]
        parent=parent,  # type: ignore[arg-type]
        step=step,  # type: ignore[arg-type]
        revision=revision,  # type: ignore[arg-type]
        file=file,  # type: ignore[arg-type]
        status=str(status),
        reason=str(reason),
        fingerprint=str(fingerprint),
        num_examples=count,  # type: ignore[arg-type]
        scores=json.loads(str(scores)),
        author=str(author),
        time=str(time),
    )


def _decision_of(row: Row) -> Decision:
    number, step, first_step, kind, verdict, reason, numbers, time = verified(row, "decisions")
    return Decision(
        decision=number,  # type: ignore[arg-type]
        step=step,  # type: ignore[arg-type]
        first_step=first_step,  # type: ignore[arg-type]
        kind=str(kind),
        verdict=str(verdict),
        reason=str(reason),
        numbers=json.loads(str(numbers)),
        time=str(time),
    )
