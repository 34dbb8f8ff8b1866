"""Which examples have a value in a field: asked of SQLite first, then compared value by value.

SQLite's own JSON functions leave out what cannot match, so that a large journal is not read row by row in
Python; what they let through is compared by the rules of ``Condition``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from everlearn.journal.journal import Journal
from everlearn.journal.rows.example_rows import verified
from everlearn.label_set import labels_in
from everlearn.types import Json

__all__ = ["COLUMNS", "Column", "Condition", "has_field", "known_fields", "select_where"]

Column = Literal["id", "target", "domain", "time"]
COLUMNS: tuple[Column, ...] = ("id", "target", "domain", "time")
_WORDS = {"true": True, "false": False}
_COUNTS = "(s.set_aside IS NULL OR c.kind = 'pending')"
_MOST_FIELDS = 50


@dataclass(frozen=True)
class Condition:
    """A field has a value. The value is given as text and compared with what the file held.

    * Text equals it to the letter. A truth value that the file spelled as text (``True``, ``TRUE``) also
      equals one in another case.
    * true and false equal ``true`` and ``false`` in any case.
    * A number equals every spelling of it: 1 and 1.0 equal ``1``, ``1.0`` and ``1e0``.
    * null equals ``null``; a list or an object equals its JSON.

    A target, domain or time is kept as text: it also equals the other spelling of a whole number (``1`` and
    ``1.0``). An id equals its letters only.

    Attributes:
        field: The name of the field in the records.
        value: The value.
        column: What the field stands for in a record that has none of this name of its own; None: nothing.
        in_sets: A target that is a set of labels also equals each of its labels.
    """

    field: str
    value: str
    column: Column | None = None
    in_sets: bool = False

    def holds(self, row: Mapping[str, Any]) -> bool:
        """Whether it holds of an example: its columns, and ``fields``."""
        if self.field in row["fields"]:
            return self.equals(row["fields"][self.field])
        if self.column is None:
            return False
        found = row[self.column]
        return found in self._spellings or (self._is_label and found is not None and self._is_in(found))

    def _is_in(self, target: str) -> bool:
        return not self._spellings.isdisjoint(labels_in(target))

    @property
    def _is_label(self) -> bool:
        return self.in_sets and self.column == "target"

    def equals(self, found: Json) -> bool:
        """Whether a value of a record is the one that is meant."""
        if isinstance(found, str):
            return found == self.value or self._is_same_word(found)
        if isinstance(found, bool):
            return _WORDS.get(self.value.casefold()) is found
        if found is None:
            return self.value == "null"
        parsed = self._parsed
        if isinstance(found, int | float):
            return isinstance(parsed, int | float) and not isinstance(parsed, bool) and parsed == found
        return bool(parsed == found)

    @cached_property
    def _parsed(self) -> Json:
        for read in (json.loads, float):
            try:
                return read(self.value)
            except ValueError:
                continue
        return None

    @cached_property
    def _spellings(self) -> frozenset[str]:
        """Every text in a column that is the value."""
        found = {self.value}
        if self.column in (None, "id"):
            return frozenset(found)
        if self.value.casefold() in _WORDS:
            found |= {form(self.value) for form in (str.lower, str.upper, str.capitalize)}
        elif isinstance(self._parsed, int) and str(self._parsed) == self.value:
            found.add(f"{self.value}.0")
        elif self.value.removesuffix(".0") != self.value and isinstance(self._parsed, float):
            whole = self.value.removesuffix(".0")
            found |= {whole} if str(int(self._parsed)) == whole else set()
        return frozenset(found)

    def _is_same_word(self, found: str) -> bool:
        return self.value.casefold() in _WORDS and found.casefold() == self.value.casefold()

    def sql(self) -> tuple[str, list[object]]:
        """A condition on rows ``e`` of the examples that no match fails, and its values."""
        own, values = self._own_sql()
        if self.column is None:
            return own, values
        found, columns = self._column_sql(f"e.{self.column}")
        ways = [own, found]
        values += columns
        if self.column == "target":
            found, columns = self._column_sql("target")
            ways.append(f"e.offset IN (SELECT offset FROM changes WHERE {found})")
            values += columns
        return f"({' OR '.join(ways)})", values

    def _column_sql(self, column: str) -> tuple[str, list[object]]:
        spellings = sorted(self._spellings)
        ways, values = [f"{column} IN ({', '.join('?' * len(spellings))})"], [*spellings]
        if self._is_label:  # sets are written as JSON lists
            ways += [f"instr({column}, ?)"] * len(spellings)
            values += [json.dumps(spelling, ensure_ascii=False) for spelling in spellings]
        return f"({' OR '.join(ways)})", [*values]

    def _own_sql(self) -> tuple[str, list[object]]:
        if any(mark in self.field for mark in ('"', "\\", "\0")):
            return "e.fields IS NOT NULL", []  # no path of SQLite's can name it
        path = f'$."{self.field}"'
        found = "json_extract(e.fields, ?)"
        ways = [f"{found} = ?"]
        values: list[object] = [path, self.value]
        parsed = self._parsed
        if self.value.casefold() in _WORDS:
            ways += [f"LOWER({found}) = ?", f"{found} = ?"]
            values += [path, self.value.casefold(), path, int(_WORDS[self.value.casefold()])]
        elif isinstance(parsed, int | float):
            ways.append("json_type(e.fields, ?) IN ('integer', 'real')")
            values.append(path)
            if abs(parsed) < 2**53:
                ways[-1] += f" AND {found} = ?"
                values += [path, float(parsed)]
        elif self.value == "null":
            ways.append("json_type(e.fields, ?) = 'null'")
            values.append(path)
        elif isinstance(parsed, list | dict):
            ways.append("json_type(e.fields, ?) IN ('array', 'object')")
            values.append(path)
        # What SQLite cannot read (NaN, say) is looked at by us.
        condition = f"e.fields IS NOT NULL AND (NOT json_valid(e.fields) OR {' OR '.join(ways)})"
        return f"({condition})", values


def select_where(journal: Journal, conditions: Sequence[Condition]) -> list[int]:
    """Offsets of the examples of which all conditions hold, in order."""
    parts = [condition.sql() for condition in conditions]
    where = " AND ".join(sql for sql, _ in parts)
    values = [value for _, some in parts for value in some]
    rows = journal.database.rows(
        "SELECT e.offset, e.id, e.step, e.role, e.target, e.domain, e.time, e.fields, e.crc, "
        "(SELECT c.target FROM changes c JOIN steps s ON s.step = c.step WHERE c.offset = e.offset "
        f"AND {_COUNTS} ORDER BY c.number DESC LIMIT 1) FROM examples e WHERE {where} ORDER BY e.offset",
        values,
    )
    found = []
    for *row, changed in rows:
        offset, id_, _, _, target, domain, time, fields = verified(row, "examples")
        described = {
            "id": id_,
            "target": target if changed is None else changed,
            "domain": domain,
            "time": time,
            "fields": json.loads(str(fields)) if fields else {},
        }
        if all(condition.holds(described) for condition in conditions):
            found.append(int(offset))  # type: ignore[call-overload]
    return found


def has_field(journal: Journal, name: str) -> bool:
    """Whether any record has a field of this name beside those that were mapped."""
    needle = json.dumps(name, ensure_ascii=False) + ":"
    rows = journal.database.rows("SELECT fields FROM examples WHERE instr(fields, ?)", (needle,))
    return any(name in json.loads(fields) for (fields,) in rows)


def known_fields(journal: Journal) -> list[str]:
    """Names of the records' fields beside those that were mapped, sorted; at most many."""
    rows = journal.database.all(
        "SELECT DISTINCT j.key FROM examples e, json_each(e.fields) j "
        "WHERE e.fields IS NOT NULL AND json_valid(e.fields) LIMIT ?",
        (_MOST_FIELDS,),
    )
    return sorted(str(name) for (name,) in rows)
