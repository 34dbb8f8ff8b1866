"""Which fields of a record are text: those that repeat the record's text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from everlearn.types import Json

__all__ = ["fields_without"]

_WHOLE = 20
"""A text of so many characters is looked for within fields too; a shorter one may be there by chance."""


def fields_without(
    fields: Mapping[str, Json], texts: Sequence[str | None], names: frozenset[str] = frozenset()
) -> dict[str, Json]:
    """The fields of a record that are no text: neither by their name, nor as they repeat one of its texts.

    >>> fields_without({"customer": "c7", "raw": " hello there "}, ["hello there"])
    {'customer': 'c7'}

    Args:
        fields: The fields.
        texts: The record's texts. What is said in the fields with these names is text, too.
        names: Of fields that are text whatever they hold.
    """
    said = {text.strip() for text in texts if text}
    said |= {text.strip() for name in names for text in _strings(fields.get(name)) if len(text) >= _WHOLE}
    said.discard("")
    return {
        name: value
        for name, value in fields.items()
        if name not in names and not (said and any(_repeats(text, said) for text in _strings(value)))
    }


def _repeats(value: str, said: set[str]) -> bool:
    return value.strip() in said or any(len(text) >= _WHOLE and text in value for text in said)


def _strings(value: Any) -> Iterator[str]:
    """All strings within a value of JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _strings(part)
    elif isinstance(value, list):
        for part in value:
            yield from _strings(part)
