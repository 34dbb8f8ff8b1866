"""The examples of a journal, as they came."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from everlearn.journal.database import Database
from everlearn.journal.generations import Generations
from everlearn.journal.records import Arrival, Role
from everlearn.journal.rows.example_rows import ARRIVAL_COLUMNS, ARRIVAL_JOINS, arrival_of, verified
from everlearn.types import Example

__all__ = ["Examples"]

_COLUMNS = "e.offset, e.id, e.step, e.role, e.target, e.domain, e.time, e.fields, e.crc"
_ROWS_AT_ONCE = 512


class Examples:
    """The tables of examples, their codes and their texts.

    Args:
        database: The journal's.
        generations: The journal's.
    """

    def __init__(self, database: Database, generations: Generations) -> None:
        self._database = database
        self._generations = generations

    def at(self, offset: int, generation: int | None = None) -> Example | None:
        """The example at an offset, with the target that it came with; None where there is none."""
        return next((arrival.example for _, arrival in self.arrivals(offset, offset, generation)), None)

    def arrivals(self, first: int, last: int, generation: int | None = None) -> Iterator[tuple[int, Arrival]]:
        """Offsets and examples from one offset to another, targets as they came.

        Args:
            first: The first offset.
            last: The last.
            generation: Of their codes; None: the one that counts.
        """
        while first <= last:
            stop = min(first + _ROWS_AT_ONCE - 1, last)
            rows = self._database.all(
                f"SELECT {ARRIVAL_COLUMNS} FROM {ARRIVAL_JOINS} WHERE e.offset BETWEEN ? AND ? "
                "ORDER BY e.offset",
                (first, stop),
            )
            arrivals = [(row[0], row[2], arrival_of(row)) for row in rows]
            yield from self._generations.with_codes(arrivals, generation)
            first = stop + 1

    def step_of(self, offset: int) -> int:
        """The step that an example came with."""
        return int(self._database.one("SELECT step FROM examples WHERE offset = ?", (offset,))[0])

    def generation_of(self, offset: int) -> int:
        """The generation of the code that an example arrived with."""
        return self._generations.at(self.step_of(offset)) if self._generations.have_changed else 0

    def has_text(self, offset: int) -> bool:
        """Whether the text of an example is kept."""
        return self._database.first("SELECT 1 FROM texts WHERE offset = ?", (offset,)) is not None

    def lacks_code(self, offset: int) -> bool:
        """Whether an example came with a code, but has none of the generation that counts."""
        if not self._generations.have_changed:
            return False
        example = self.at(offset)
        came_with_one = self._database.first("SELECT 1 FROM codes WHERE offset = ?", (offset,)) is not None
        return example is not None and example.code is None and came_with_one

    def named(self, ids: Sequence[str]) -> list[tuple[int, str, Role, str | None]]:
        """Offset, id, role and the target that it came with of each example with one of these ids."""
        rows = self._database.all(
            f"SELECT {_COLUMNS} FROM json_each(?) j JOIN examples e ON e.id = j.value",
            (json.dumps(list(ids)),),
        )
        return [
            (offset, id_, role, target)  # type: ignore[misc]
            for offset, id_, _, role, target, *_ in (verified(row, "examples") for row in rows)
        ]

    def offsets_of(self, ids: Sequence[str]) -> list[int]:
        """Offsets of the examples with one of these ids, in order."""
        return sorted(offset for offset, *_ in self.named(list(dict.fromkeys(ids))))

    def offsets_with_field(self, name: str, matches: Callable[[str, Mapping[str, Any]], bool]) -> list[int]:
        """Offsets of the examples whose records have a field of this name, and of whose id and fields
        ``matches`` is true. Reads all records; their codes and texts are not read.
        """
        rows = self._database.rows(
            f"SELECT {_COLUMNS} FROM examples e WHERE instr(e.fields, ?) ORDER BY e.offset",
            (json.dumps(name, ensure_ascii=False) + ":",),
        )
        found = []
        for offset, id_, *_, fields in (verified(row, "examples") for row in rows):
            if matches(str(id_), json.loads(str(fields))):
                found.append(int(str(offset)))
        return found

    @property
    def keep_texts(self) -> bool:
        """Whether the text of any of them is kept."""
        return self._database.first("SELECT 1 FROM texts LIMIT 1") is not None

    def num_without_text(self) -> int:
        """Those that count, or are to be looked at, and whose text is not kept."""
        row = self._database.one(
            "SELECT COUNT(*) FROM examples e JOIN steps s ON s.step = e.step "
            "LEFT JOIN texts t ON t.offset = e.offset WHERE t.offset IS NULL AND (s.set_aside IS NULL OR "
            "EXISTS (SELECT 1 FROM changes c WHERE c.offset = e.offset AND c.kind <> 'pending'))"
        )
        return int(row[0])
