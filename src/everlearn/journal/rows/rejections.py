"""What the journal keeps of records that gave no example, and how that obeys deletions.

A rejected record is kept with its place, a reason and how it begins. That may name a deleted example, or be
its words. So what names one is left out when it is journaled, taken out when an example is deleted, and
looked for when a certificate is verified.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from everlearn.journal.database import Database
from everlearn.journal.deletion.deleted_ids import DeletedIds
from everlearn.journal.deletion.text_traces import TextTraces
from everlearn.journal.records import KeptRejection

__all__ = ["Extent", "Rejections", "is_naming", "names_in", "without_deleted"]

_DELETED = "a record with an id that was deleted"
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'')
_CELL = re.compile(r"[^,;|\t\r\n]+")
_WORD = re.compile(r"[^\s,;|\"'{}\[\]:]+")
_ROWS_AT_ONCE = 1_000


def names_in(text: str) -> set[str]:
    """Everything in a reason or excerpt that could be an id: quoted strings, cells of a table, words.

    >>> sorted(names_in('{"id": "m-3", "n": 7}') & {"m-3", "7"})
    ['7', 'm-3']
    """
    found = {cell.strip() for cell in _CELL.findall(text)} | set(_WORD.findall(text))
    for quoted in _QUOTED.findall(text):
        found.add(quoted[1:-1])
        if quoted[0] == '"':
            try:
                found.add(str(json.loads(quoted)))
            except ValueError:
                continue  # an excerpt ends anywhere, also within an escape
    return found - {""}


def without_deleted(rejected: Sequence[KeptRejection], deleted_ids: DeletedIds) -> list[KeptRejection]:
    """Rejected records as they may be kept: deleted ids as hashes, without excerpts that name them."""
    if deleted_ids.is_empty:
        return list(rejected)
    # All names at once: one by one they would be a query each, within the transaction of a step.
    deleted = deleted_ids.among(set().union(*map(_names_of, rejected)))
    return [_obeying(record, deleted, deleted_ids) for record in rejected]


def _names_of(record: KeptRejection) -> set[str]:
    own = {record.id} if record.id is not None else set()
    return own | _quoted_in(record.reason) | names_in(record.excerpt)


def _obeying(record: KeptRejection, deleted: Container[str], deleted_ids: DeletedIds) -> KeptRejection:
    is_of_deleted = record.id is not None and record.id in deleted
    is_named = any(name in deleted for name in _quoted_in(record.reason))
    if is_of_deleted or is_named:
        digest = deleted_ids.digest_of(str(record.id)).hex() if is_of_deleted else record.id
        return replace(record, reason=_DELETED if is_named else record.reason, excerpt="", id=digest)
    if any(name in deleted for name in names_in(record.excerpt)):
        return replace(record, excerpt="")
    return record


def _quoted_in(text: str) -> set[str]:
    return {quoted[1:-1] for quoted in _QUOTED.findall(text)} - {""}


@dataclass(frozen=True, slots=True)
class Extent:
    """How far the table of rejected records goes.

    Attributes:
        count: Records.
        num_excerpts: Those of them with an excerpt.
        last_number: Of the last one.
    """

    count: int
    num_excerpts: int
    last_number: int


class Rejections:
    """The table of rejected records.

    Args:
        database: The journal's.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self, *, after: int = 0) -> Iterator[KeptRejection]:
        """All of them in order, or those behind a number."""
        sql = "SELECT place, reason, excerpt, id FROM rejections WHERE number > ? ORDER BY number"
        for row in self._database.rows(sql, (after,)):
            yield KeptRejection(*row)

    def extent(self) -> Extent:
        """How far the table goes."""
        row = self._database.one(
            "SELECT (SELECT COUNT(*) FROM rejections), "
            "(SELECT COUNT(*) FROM rejections WHERE excerpt <> ''), "
            "(SELECT COALESCE(MAX(number), 0) FROM rejections)"
        )
        return Extent(*map(int, row))

    def has_grown(self, before: Extent, now: Extent) -> bool:
        """Whether all that is new lies behind ``before``: nothing was deleted, and no excerpt dropped."""
        count, num_excerpts = self._database.one(
            "SELECT COUNT(*), COALESCE(SUM(excerpt <> ''), 0) FROM rejections WHERE number > ?",
            (before.last_number,),
        )
        return (now.count - before.count, now.num_excerpts - before.num_excerpts) == (count, num_excerpts)

    def forget(self, ids: Collection[str], texts: Iterable[str | None] = ()) -> int:
        """Delete what was rejected under these ids, and excerpts that name them or repeat these texts.

        Args:
            ids: The ids.
            texts: What is known of their texts. None: there was one that is not kept, so that no excerpt of
                a record without id can be told not to repeat it.

        Returns:
            Rows deleted or changed.
        """
        known, named = list(texts), frozenset(ids)
        with self._database.transaction():
            own = [
                text
                for id_ in ids
                for (text,) in self._database.all("SELECT excerpt FROM rejections WHERE id = ?", (id_,))
            ]
            count = sum(
                self._database.execute("DELETE FROM rejections WHERE id = ?", (id_,)).rowcount for id_ in ids
            )
            if not known:  # never taken: what is left of them is all that tells their words
                own += [
                    record.excerpt for _, record in self._with_excerpt() if named & names_in(record.excerpt)
                ]
            traces = TextTraces([*(text for text in known if text is not None), *own])
            return count + self._change(
                {
                    number: replace(record, excerpt="")
                    for number, record in self._with_excerpt()
                    if (record.id is None and None in known)
                    or named & names_in(record.excerpt)
                    or traces.are_in(record.excerpt)
                }
            )

    def forget_deleted(self, deleted_ids: DeletedIds) -> int:
        """The same for everything that names an id which was deleted before; returns rows changed."""
        changed: dict[int, KeptRejection] = {}
        rows = self._numbered("1")
        while some := dict(islice(rows, _ROWS_AT_ONCE)):
            kept = zip(some.items(), without_deleted(list(some.values()), deleted_ids), strict=True)
            changed |= {number: after for (number, before), after in kept if after != before}
        with self._database.transaction():
            return self._change(changed)

    def drop_excerpts(self, last_step: int) -> int:
        """Drop the excerpts that came with a step or before; returns how many."""
        return self._database.execute(
            "UPDATE rejections SET excerpt = '' WHERE excerpt <> '' AND step <= ?", (last_step,)
        ).rowcount

    def num_naming(self, is_deleted: Callable[[str], bool]) -> int:
        """How many rows name an id of which ``is_deleted`` is true."""
        return sum(is_naming(_as_mapping(record), is_deleted) for _, record in self._numbered("1"))

    def _with_excerpt(self) -> Iterator[tuple[int, KeptRejection]]:
        return self._numbered("excerpt <> ''")

    def _numbered(self, condition: str) -> Iterator[tuple[int, KeptRejection]]:
        rows = self._database.rows(
            f"SELECT number, place, reason, excerpt, id FROM rejections WHERE {condition} ORDER BY number"
        )
        for number, *values in rows:
            yield number, KeptRejection(*values)

    def _change(self, changed: Mapping[int, KeptRejection]) -> int:
        self._database.executemany(
            "UPDATE rejections SET reason = ?, excerpt = ?, id = ? WHERE number = ?",
            [(record.reason, record.excerpt, record.id, number) for number, record in changed.items()],
        )
        return len(changed)


def is_naming(rejected: Mapping[str, object], is_deleted: Callable[[str], bool]) -> bool:
    """Whether a rejected record (its id, reason and excerpt) names an id of which ``is_deleted`` is true."""
    id_, reason, excerpt = (str(rejected.get(name) or "") for name in ("id", "reason", "excerpt"))
    return any(map(is_deleted, {id_} | _quoted_in(reason) | names_in(excerpt)))


def _as_mapping(record: KeptRejection) -> dict[str, object]:
    return {"id": record.id, "reason": record.reason, "excerpt": record.excerpt}
