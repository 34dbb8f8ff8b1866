"""What is held back for exams: examples that have a target and are not set aside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from everlearn.journal.journal import Journal

__all__ = ["ExamExample", "ExamExamples"]

_USABLE = (
    "SELECT e.offset, e.step, e.id, e.domain, e.fields, COALESCE((SELECT c.target FROM changes c "
    "WHERE c.offset = e.offset ORDER BY c.number DESC LIMIT 1), e.target) AS present "
    "FROM examples e JOIN steps s ON s.step = e.step "
    "WHERE e.role = 'exam' AND s.set_aside IS NULL AND present IS NOT NULL"
)
_HAS_TEXT = "EXISTS (SELECT 1 FROM texts t WHERE t.offset = e.offset)"


class ExamExample(NamedTuple):
    """An example to be examined on.

    Attributes:
        offset: Where it is.
        step: The step that it came with.
        id: Its id.
        domain: Its domain.
        fields: The other fields of its record, as JSON; None: there are none.
        target: Its present target.
    """

    offset: int
    step: int
    id: str
    domain: str | None
    fields: str | None
    target: str


class ExamExamples:
    """The exam examples of a journal.

    Args:
        journal: The journal.
        need_text: Whether those whose texts were dropped are of no use.
    """

    def __init__(self, journal: Journal, *, need_text: bool) -> None:
        self._database = journal.database
        self._usable = f"{_USABLE} AND {_HAS_TEXT}" if need_text else _USABLE

    def since(self, offset: int) -> Iterator[ExamExample]:
        """Those from an offset on."""
        return map(ExamExample._make, self._database.rows(f"{self._usable} AND e.offset >= ?", (offset,)))

    def at(self, offset: int) -> ExamExample | None:
        """The one at an offset; None: there is none."""
        row = self._database.first(f"{self._usable} AND e.offset = ?", (offset,))
        return None if row is None else ExamExample._make(row)

    @property
    def last_change(self) -> int:
        """Number of the newest change of any example; 0: there is none."""
        return int(self._database.one("SELECT COALESCE(MAX(number), 0) FROM changes")[0])

    def changed_since(self, change: int) -> set[int]:
        """Offsets of the exam examples with a newer change than this."""
        # CROSS JOIN: SQLite, which knows no sizes, would begin with the larger table.
        rows = self._database.rows(
            "SELECT c.offset FROM changes c CROSS JOIN examples e ON e.offset = c.offset "
            "WHERE c.number > ? AND e.role = 'exam'",
            (change,),
        )
        return {offset for (offset,) in rows}
