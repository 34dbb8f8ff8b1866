"""What the journal says of an example beside its code and text: quick to read, by offset or by id."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from everlearn.journal.journal import Journal

__all__ = ["Entry", "all_ids", "entries", "entry_at", "entry_of", "ids_at"]

_ENTRIES = "SELECT offset, id, step, role, target, domain, fields FROM examples"


class Entry(NamedTuple):
    """An example's own row.

    Attributes:
        offset: Where it is.
        id: Its id.
        step: The step that it came with.
        role: What it is for; see ``everlearn.journal.records.Role``.
        target: The target that it came with.
        domain: Its domain.
        fields: The other fields of its record, as JSON; None: there are none.
    """

    offset: int
    id: str
    step: int
    role: str
    target: str | None
    domain: str | None
    fields: str | None


def entries(journal: Journal) -> Iterator[Entry]:
    """All, in order of offsets."""
    return map(Entry._make, journal.database.rows(f"{_ENTRIES} ORDER BY offset"))


def entry_at(journal: Journal, offset: int) -> Entry:
    """The one at an offset that the journal has."""
    return Entry._make(journal.database.one(f"{_ENTRIES} WHERE offset = ?", (offset,)))


def entry_of(journal: Journal, id_: str) -> Entry | None:
    """The one with an id; None: the journal does not know it."""
    row = journal.database.first(f"{_ENTRIES} WHERE id = ?", (id_,))
    return None if row is None else Entry._make(row)


def ids_at(journal: Journal, offsets: Iterable[int]) -> Iterator[str]:
    """The ids of examples that the journal has, in the order of these offsets."""
    for offset in offsets:
        yield journal.database.one("SELECT id FROM examples WHERE offset = ?", (offset,))[0]


def all_ids(journal: Journal) -> Iterator[str]:
    """The ids of all examples, in order of offsets."""
    for (id_,) in journal.database.rows("SELECT id FROM examples ORDER BY offset"):
        yield id_
