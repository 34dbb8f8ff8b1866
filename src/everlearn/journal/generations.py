"""Generations of codes: a consolidation encodes everything anew, by a trunk that was tuned.

An example keeps the code that it arrived with (the chain of steps vouches for it). What a later trunk made
of the same text lies beside it, so that a version from before the consolidation can be gone back to, with
its own codes. Which generation counts is part of history: revisions say when it changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from everlearn.journal.checksums import canonical_json, checksum
from everlearn.journal.database import Database
from everlearn.journal.records import Arrival
from everlearn.journal.rows.example_rows import verified
from everlearn.types import Json

__all__ = ["Generation", "Generations", "Switch", "generation_at", "read_switches"]

_SHIFT = 40  # a tuned code's key is its generation and, below these bits, its offset
_COLUMNS = "generation, step, fingerprint, config, dense_size, detail, time, crc"


@dataclass(frozen=True, slots=True)
class Switch:
    """A change of the generation that counts.

    Attributes:
        after_step: The newest step then.
        revision: The revision that records it.
        generation: The one that counts from then on.
    """

    after_step: int
    revision: int
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """Codes that a tuned trunk made.

    Attributes:
        generation: Its number, from 1; 0 are the codes of the trunk as it came.
        step: After which step it was made.
        coder_fingerprint: Names the trunk and all settings of encoding.
        coder_config: The coder's configuration.
        dense_size: Length of a code's dense part.
        detail: How the trunk was tuned; JSON.
        time: When.
    """

    generation: int
    step: int
    coder_fingerprint: str
    coder_config: Mapping[str, Json]
    dense_size: int
    detail: Mapping[str, Json]
    time: str


class Generations:
    """The tables of generations and of tuned codes, and which generation counts.

    Args:
        database: The journal's.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._switches: list[Switch] = []

    def look_again(self) -> None:
        """Look again which generation counts: after a change of history that changed it."""
        self._switches = read_switches(self._database)

    @property
    def current(self) -> int:
        """The generation that counts; examples are given with its codes unless another is asked for."""
        return self._switches[-1].generation if self._switches else 0

    @property
    def have_changed(self) -> bool:
        """Whether another one has ever counted than the codes of the trunk as it came."""
        return bool(self._switches)

    def known_to(self, revision: int) -> int:
        """The generation that counted when a revision was the newest."""
        known = (switch.generation for switch in reversed(self._switches) if switch.revision <= revision)
        return next(known, 0)

    def at(self, step: int) -> int:
        """The generation whose codes arrived with a step."""
        return generation_at(self._switches, step)

    def with_codes(
        self, arrivals: Sequence[tuple[int, int, Arrival]], generation: int | None = None
    ) -> list[tuple[int, Arrival]]:
        """Examples with their codes of a generation; without a code where they have none of it.

        Args:
            arrivals: Offset, step and example with the code that it arrived with, in order of offsets.
            generation: The one that is wanted; None: the one that counts.
        """
        wanted = self.current if generation is None else generation
        if not self._switches and not wanted:
            return [(offset, arrival) for offset, _, arrival in arrivals]
        tuned = self._tuned(wanted, arrivals[0][0], arrivals[-1][0]) if wanted and arrivals else {}
        found = []
        for offset, step, arrival in arrivals:
            code = arrival.example.code
            if code is not None and self.at(step) != wanted:
                code = replace(code, dense=tuned[offset]) if offset in tuned else None
                arrival = replace(arrival, example=replace(arrival.example, code=code))
            found.append((offset, arrival))
        return found

    def _tuned(self, generation: int, first: int, last: int) -> dict[int, np.ndarray]:
        base = generation << _SHIFT
        rows = self._database.rows(
            "SELECT number, dense, crc FROM tuned_codes WHERE number BETWEEN ? AND ?",
            (base | first, base | last),
        )
        return {
            int(str(number)) - base: np.frombuffer(dense, np.int8)  # type: ignore[call-overload]
            for number, dense in (verified(row, "tuned_codes") for row in rows)
        }

    def tuned_parts(self, generation: int, first: int, last: int, size: int) -> dict[int, bytes]:
        """The first bytes of codes that a tuned trunk made, by offset; not verified.

        Args:
            generation: Of the codes; of 0 there are none here.
            first: The first offset.
            last: The last.
            size: Bytes of each.
        """
        base = generation << _SHIFT
        rows = self._database.rows(
            "SELECT number, substr(dense, 1, ?) FROM tuned_codes WHERE number BETWEEN ? AND ?",
            (size, base | first, base | last),
        )
        return {number - base: part for number, part in rows} if generation else {}

    def all(self) -> list[Generation]:
        """All that were adopted, oldest first."""
        found = []
        for row in self._database.rows(f"SELECT {_COLUMNS} FROM generations ORDER BY generation"):
            number, step, fingerprint, config, dense_size, detail, time = verified(row, "generations")
            found.append(
                Generation(
                    generation=number,  # type: ignore[arg-type]
                    step=step,  # type: ignore[arg-type]
                    coder_fingerprint=str(fingerprint),
                    coder_config=json.loads(str(config)),
                    dense_size=dense_size,  # type: ignore[arg-type]
                    detail=json.loads(str(detail)),
                    time=str(time),
                )
            )
        return found

    @property
    def next(self) -> int:
        """The number that the next one will have."""
        return int(self._database.one("SELECT COALESCE(MAX(generation), 0) + 1 FROM generations")[0])

    def add(
        self,
        *,
        step: int,
        coder_fingerprint: str,
        coder_config: Mapping[str, Json],
        dense_size: int,
        detail: Mapping[str, Json],
    ) -> int:
        """Record the next generation; returns its number."""
        number = self.next
        values = (
            number,
            step,
            coder_fingerprint,
            canonical_json(dict(coder_config)),
            dense_size,
            canonical_json(dict(detail)),
            self._database.now(),
        )
        self._database.execute(
            f"INSERT INTO generations ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?)", (*values, checksum(*values))
        )
        return number

    def write_codes(self, generation: int, codes: Iterable[tuple[int, np.ndarray]]) -> None:
        """Store dense parts int8 (D,) by offset. They count once the generation does."""
        rows = []
        for offset, dense in codes:
            values = (generation << _SHIFT | offset, dense.astype(np.int8, copy=False).tobytes())
            rows.append((*values, checksum(*values)))
        with self._database.transaction():
            self._database.executemany("INSERT OR REPLACE INTO tuned_codes VALUES (?,?,?)", rows)

    def last_offset(self, generation: int) -> int:
        """The highest offset with a code of a generation; 0: there is none."""
        row = self._database.one(
            "SELECT MAX(number) FROM tuned_codes WHERE number BETWEEN ? AND ?", _range(generation)
        )
        return 0 if row[0] is None else int(row[0]) - (generation << _SHIFT)

    def drop_codes(self, generation: int) -> int:
        """Delete all codes of a generation; returns how many there were."""
        count = self._database.one(
            "SELECT COUNT(*) FROM tuned_codes WHERE number BETWEEN ? AND ?", _range(generation)
        )[0]
        if count:
            self._database.execute("DELETE FROM tuned_codes WHERE number BETWEEN ? AND ?", _range(generation))
        return int(count)

    def drop_codes_from(self, offset: int) -> None:
        """Delete all codes, of any generation, of examples from an offset on."""
        for generation in range(1, self.next + 1):
            first, last = _range(generation)
            self._database.execute(
                "DELETE FROM tuned_codes WHERE number BETWEEN ? AND ?", (first | offset, last)
            )

    def delete_offset(self, offset: int) -> None:
        """Delete an example's codes of all generations, one that is being made included."""
        for generation in range(1, self.next + 1):
            self._database.execute(
                "DELETE FROM tuned_codes WHERE number = ?", (generation << _SHIFT | offset,)
            )


def read_switches(database: Database) -> list[Switch]:
    """All changes of the generation that counts, in order."""
    rows = database.all(
        "SELECT revision, kind, first_step, last_step, reason, detail, time, crc FROM revisions "
        "WHERE kind IN ('consolidation', 'rollback', 'damage') ORDER BY revision"
    )
    found = []
    for row in rows:
        revision, _, _, last_step, _, detail, _ = verified(row, "revisions")
        generation = json.loads(str(detail)).get("generation")
        if generation is not None:
            found.append(Switch(int(str(last_step)), int(str(revision)), generation))
    return found


def generation_at(switches: Sequence[Switch], step: int) -> int:
    """The generation whose codes arrived with a step."""
    return next((switch.generation for switch in reversed(switches) if switch.after_step < step), 0)


def _range(generation: int) -> tuple[int, int]:
    return generation << _SHIFT, (generation + 1 << _SHIFT) - 1
