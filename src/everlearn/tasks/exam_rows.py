"""What a run holds back for exams, read once: each candidate reads only what came or changed since the last.

Of each row a few numbers are kept. What they belong to is read when it is chosen.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from everlearn.journal.journal import DROPPED_TO, Journal

__all__ = ["ExamRows", "balanced", "hash_share"]

Group = tuple[str | None, ...]
Places = npt.NDArray[np.intp]

_ROW = np.dtype([("offset", "i8"), ("step", "i8"), ("group", "i8"), ("hash", "f8")])
_USABLE = (
    "SELECT e.offset, e.step, e.id, e.domain, e.fields, COALESCE((SELECT c.target FROM changes c "
    "WHERE c.offset = e.offset ORDER BY c.number DESC LIMIT 1), e.target) AS present "
    "FROM examples e JOIN steps s ON s.step = e.step "
    "WHERE e.role = 'exam' AND s.set_aside IS NULL AND present IS NOT NULL"
)
_HAS_TEXT = "EXISTS (SELECT 1 FROM texts t WHERE t.offset = e.offset)"


def hash_share(id_: str, purpose: str) -> float:
    """A number in [0, 1) that is a function of the id: the same for every run, order and restart.

    >>> 0.0 <= hash_share("message-1", "exam") < 1.0
    True
    """
    key = purpose.encode()
    digest = blake2b(id_.encode("utf-8", "surrogatepass"), digest_size=8, key=key).digest()
    return int.from_bytes(digest, "little") / 2**64


class ExamRows:
    """The rows of all exam examples that have a target and are not set aside, in order of offsets.

    What is examined on texts is examined on those that are kept.

    Args:
        journal: Holds them.
        group_of: The group of an example, by its domain and its present target.
        name_of: What its hash is of, by its id and fields.
        need_text: Whether those whose texts were dropped are of no use.

    Attributes:
        rows: ``offset``, ``step``, ``group`` (a place in ``groups``) and ``hash`` of each.
        groups: All groups there were.
    """

    def __init__(
        self,
        journal: Journal,
        group_of: Callable[[str | None, str], Group],
        name_of: Callable[[str, str | None], str] = lambda id_, _: id_,
        *,
        need_text: bool = False,
    ) -> None:
        self._journal = journal
        self._group_of = group_of
        self._name_of = name_of
        self.rows = np.zeros(0, _ROW)
        self.groups: list[Group] = []
        self._places: dict[Group, int] = {}
        self._step = self._revision = self._change = 0
        self._need_text = need_text
        self._usable = f"{_USABLE} AND {_HAS_TEXT}" if need_text else _USABLE
        self._dropped: str | None = None

    def refresh(self) -> None:
        """Take in what came, was changed, set aside or deleted since the last time."""
        journal, database = self._journal, self._journal.database
        first_step = self._step + 1 if journal.last_step >= self._step else 1
        revised, revision = database.one(
            "SELECT MIN(first_step), MAX(revision) FROM revisions WHERE revision > ?", (self._revision,)
        )
        if revised is not None:
            first_step, self._revision = min(first_step, revised), revision
        if self._need_text and (dropped := journal.meta(DROPPED_TO)) != self._dropped:
            first_step, self._dropped = 1, dropped
        first = journal.last_offset_of(first_step - 1) + 1
        kept = self.rows[: int(np.searchsorted(self.rows["offset"], first))]
        read = [self._row(*values) for values in database.rows(f"{self._usable} AND e.offset >= ?", (first,))]
        # CROSS JOIN: SQLite, which knows no sizes, would begin with the larger table.
        changed = {
            offset
            for (offset,) in database.all(
                "SELECT c.offset FROM changes c CROSS JOIN examples e ON e.offset = c.offset "
                "WHERE c.number > ? AND e.role = 'exam'",
                (self._change,),
            )
            if offset < first
        }
        if changed:
            kept = kept[~np.isin(kept["offset"], list(changed))]
            for offset in changed:
                found = database.first(f"{self._usable} AND e.offset = ?", (offset,))
                read += [] if found is None else [self._row(*found)]
        if changed or read or len(kept) < len(self.rows):
            rows = np.concatenate([kept, np.array(read, _ROW)])
            self.rows = rows[np.argsort(rows["offset"], kind="stable")]
        self._step = journal.last_step
        self._change = database.one("SELECT COALESCE(MAX(number), 0) FROM changes")[0]

    def _row(
        self, offset: int, step: int, id_: str, domain: str | None, fields: str | None, target: str
    ) -> tuple[int, int, int, float]:
        group = self._group_of(domain, target)
        place = self._places.setdefault(group, len(self.groups))
        if place == len(self.groups):
            self.groups.append(group)
        return offset, step, place, hash_share(self._name_of(id_, fields), "long-term")


def balanced(rows: npt.NDArray[np.void], size: int) -> Places:
    """At most ``size`` rows, as many as possible of the smallest groups: those of the smallest hashes.

    Args:
        rows: As of ``ExamRows``.
        size: How many.

    Returns:
        Their places among the rows, in order.
    """
    if not len(rows):
        return np.zeros(0, np.intp)
    order = np.lexsort((rows["offset"], rows["hash"], rows["group"]))
    _, appeared, counts = np.unique(rows["group"], return_index=True, return_counts=True)
    starts = np.cumsum(counts) - counts
    chosen: list[Places] = []
    num_chosen = 0
    by_size = np.lexsort((appeared, counts)).tolist()
    for k, group in enumerate(by_size):
        room = min((size - num_chosen) // (len(by_size) - k), int(counts[group]))
        chosen.append(order[starts[group] : starts[group] + room])
        num_chosen += room
    return np.sort(np.concatenate(chosen))
