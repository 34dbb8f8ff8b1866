"""Fields within fields, by dotted names, and texts that are made of several fields."""

from __future__ import annotations

from collections.abc import Sequence

from everlearn.stream.records.record_error import RecordError
from everlearn.types import Json

__all__ = ["join_texts", "lift", "nested_text"]


def lift(record: dict[str, Json], name: str) -> None:
    """Give a nested value a field of its own, called by its dotted name; nothing where there is none.

    >>> record = {"data": {"text": "where is it", "from": "k1"}}
    >>> lift(record, "data.text")
    >>> record
    {'data': {'from': 'k1'}, 'data.text': 'where is it'}
    """
    *parents, last = name.split(".")
    if not parents or name in record:
        return
    path: list[dict[str, Json]] = [record]
    for parent in parents:
        inner = path[-1].get(parent)
        if not isinstance(inner, dict):
            return
        path.append(inner)
    if last not in path[-1]:
        return
    record[name] = path[-1].pop(last)
    for holder, parent in zip(reversed(path[:-1]), reversed(parents), strict=True):
        if not holder[parent]:
            del holder[parent]


def join_texts(record: dict[str, Json], names: Sequence[str]) -> None:
    """Make one text of several fields, under the name of the first; missing and blank ones are left out.

    Raises:
        RecordError: One is no string.
    """
    texts = []
    for name in names:
        value = record.get(name)
        if value is None:
            continue
        if not isinstance(value, str):
            raise RecordError(f"field {name!r} must be a string, not {type(value).__name__}")
        if value and not value.isspace():
            texts.append(value)
    was_there = any(name in record for name in names)
    for name in names:
        record.pop(name, None)
    if was_there:
        record[names[0]] = "\n".join(texts)


def nested_text(record: dict[str, Json]) -> str | None:
    """The dotted name of a string within a record's fields, for a message."""
    for name, value in record.items():
        if isinstance(value, dict):
            for inner, text in value.items():
                if isinstance(text, str):
                    return f"{name}.{inner}"
    return None
