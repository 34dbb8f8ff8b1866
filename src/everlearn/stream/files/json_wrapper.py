"""A JSON file that is one object with the list of records in it, as ``{"data": [{…}, …]}``."""

from __future__ import annotations

import json
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from everlearn.errors import InputError
from everlearn.types import Json

__all__ = ["Wrapper", "check_rest", "wrapper_of"]

_SPACE = " \t\r\n"
# Lists of objects that belong to a record.
_OF_RECORDS = frozenset(
    {"messages", "conversations", "annotations", "completions", "predictions", "tools", "prompt", "inputs"}
)


@dataclass(frozen=True, slots=True)
class Wrapper:
    """Where the list begins.

    Attributes:
        name: The field that holds it.
        start: Characters before its first value.
    """

    name: str
    start: int


def wrapper_of(head: str, names: AbstractSet[str], place: str) -> Wrapper | None:
    """What is around the list of records; None where the file's first value is a record, or a list itself.

    Args:
        head: How the file begins.
        names: Fields by which a record is known.
        place: The file, for messages.

    Raises:
        InputError: There are several lists of objects.
    """
    position = _behind(head, 0)
    if head[position : position + 1] != "{":
        return None
    found = _first_list(head, position + 1, names)
    if found is None:
        return None
    try:
        value, end = json.JSONDecoder().raw_decode(head, position)
    except (ValueError, RecursionError):
        return found  # longer than what is looked at
    if head[end:].strip(_SPACE) or not names.isdisjoint(value):
        return None
    _check_one_list(value, place)
    return found


def check_rest(rest: str, wrapper: Wrapper, place: str) -> None:
    """Make sure that the object ends behind its list, and has no other.

    Raises:
        InputError: It does not.
    """
    rest = rest.strip(_SPACE)
    try:
        value = json.loads("{" + rest.removeprefix(",") if rest.startswith(",") else "{" + rest)
    except (ValueError, RecursionError):
        raise InputError(f"{place}: the object around the list {wrapper.name!r} has no end") from None
    _check_one_list({wrapper.name: [{}], **value}, place)


def _first_list(head: str, position: int, names: AbstractSet[str]) -> Wrapper | None:
    decoder = json.JSONDecoder()
    while True:
        try:
            name, position = decoder.raw_decode(head, _behind(head, position))
            position = _behind(head, position)
            if not isinstance(name, str) or name in names or name in _OF_RECORDS or head[position] != ":":
                return None
            position = _behind(head, position + 1)
            inner = _behind(head, position + 1)
            if head[position] == "[" and head[inner] in "{]":
                return Wrapper(name, position + 1)
            _, position = decoder.raw_decode(head, position)
            position = _behind(head, position)
            if head[position] != ",":
                return None
            position += 1
        except (ValueError, IndexError, RecursionError):
            return None


def _check_one_list(value: dict[str, Json], place: str) -> None:
    lists = [name for name, one in value.items() if _is_list_of_objects(one)]
    if len(lists) > 1:
        raise InputError(
            f"{place}: it is one object with several lists of objects ({', '.join(lists)}); give the one to "
            "learn as a file of its own"
        )


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _behind(head: str, position: int) -> int:
    """The next position that is no space."""
    while position < len(head) and head[position] in _SPACE:
        position += 1
    return position
