"""Choosing examples by what describes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from everlearn.journal.journal import Matcher
from everlearn.learning.language.reading import document_of
from everlearn.types import Example

__all__ = ["example_matcher"]


def example_matcher(
    ids: Sequence[str], where: Sequence[tuple[str, str]], *, whole_documents: bool = False
) -> Matcher:
    """A matcher: one of the ``ids`` (if any are given), and every field of ``where`` has its value.

    Fields are looked up among the record's own first, then among id, target (also called label), domain
    and time. Numbers and booleans match by their text.

    Args:
        ids: Ids; empty: any.
        where: (field, value) pairs.
        whole_documents: A document's id stands for all pieces that it came in.

    >>> matches = example_matcher([], [("customer", "c7")])
    >>> matches({"id": "1", "target": "refund", "fields": {"customer": "c7"}})
    True
    """
    wanted = frozenset(ids)

    def matches(row: Mapping[str, Any]) -> bool:
        names = {row["id"]}
        if whole_documents:
            names.add(document_of(Example(id=row["id"], fields=row["fields"]))[0])
        if wanted and not wanted & names:
            return False
        return all(_text(_value(row, name)) == value for name, value in where)

    return matches


def _value(row: Mapping[str, Any], name: str) -> Any:
    fields = row["fields"]
    if name in fields:
        return fields[name]
    return row.get("target" if name == "label" else name)


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
