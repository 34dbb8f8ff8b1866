"""Values of a journal as JSON that every reader takes: what others wrote into it may hold anything."""

from __future__ import annotations

import json

from everlearn.json_text import json_text
from everlearn.types import Json

__all__ = ["plain"]


def plain(told: dict[str, Json]) -> dict[str, Json]:
    """The same without numbers that are not finite (null) and halves of surrogate pairs (?).

    >>> plain({"score": float("inf"), "text": chr(0xD800)})
    {'score': None, 'text': '?'}
    """
    found: dict[str, Json] = json.loads(json_text(told).encode("utf-8", "replace"))
    return found
