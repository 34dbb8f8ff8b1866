"""Text of the report: escaping for HTML and for charts, and numbers with their units."""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Mapping
from typing import Literal

from everlearn.types import Json

__all__ = [
    "NO_BREAK_SPACE",
    "chart_text",
    "count",
    "duration",
    "flat",
    "html_text",
    "json_for_script",
    "percent",
    "points",
    "shortened",
]

NO_BREAK_SPACE = "\u00a0"

# Control characters, and those that turn the direction of all text after them.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def _printable(text: str) -> str:
    return _UNPRINTABLE.sub(lambda m: " " if m[0] in "\t\n\r" else "\ufffd", text)


def html_text(value: object) -> str:
    """Any value as text for HTML, in elements and in quoted attributes."""
    return html.escape(_printable(str(value)), quote=True)


def chart_text(value: object) -> str:
    """Any value as text for a plotly chart, which reads a subset of HTML and its entities."""
    return html.escape(_printable(str(value)), quote=False)


def json_for_script(value: Json) -> str:
    """JSON that is safe inside a ``<script>`` element: no character of it can end the element."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def shortened(text: str, length: int) -> str:
    """The text, or its start and end around an ellipsis, in at most ``length`` characters."""
    text = " ".join(_printable(text).split())
    if len(text) <= length:
        return text
    tail = (length - 1) // 3
    return text[: length - 1 - tail] + "…" + text[len(text) - tail :]


def percent(fraction: float, digits: int = 1) -> str:
    """A fraction as "95.7 %"."""
    return f"{100 * fraction:.{digits}f}{NO_BREAK_SPACE}%"


def points(fraction: float, *, sign: Literal["", "+"] = "") -> str:
    """A difference of fractions as "−1.3 pp", in percentage points."""
    # Adding 0.0 turns a rounded -0.0 into 0.0.
    value = round(100 * fraction, 1) + 0.0
    return f"{value:{sign}.1f}{NO_BREAK_SPACE}pp".replace("-", "−")


def count(number: float) -> str:
    """A count with thousands separators; one decimal below 10 if it has any."""
    return f"{number:,.0f}" if number >= 10 or number == int(number) else f"{number:,.1f}"


def duration(seconds: float) -> str:
    """Seconds as "8.3 s", "2 min 05 s" or "3 h 07 min"."""
    space = NO_BREAK_SPACE
    if seconds < 60:
        return f"{seconds:.1f}{space}s"
    if seconds < 3600:
        return f"{int(seconds // 60)}{space}min {int(seconds % 60):02d}{space}s"
    return f"{int(seconds // 3600)}{space}h {int(seconds % 3600 // 60):02d}{space}min"


def flat(data: Mapping[str, Json], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as (dotted key, text) pairs in their order."""
    rows: list[tuple[str, str]] = []
    for key, value in data.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            rows += flat(value, f"{name}.")
        elif isinstance(value, str):
            rows.append((name, value))
        elif value is None or (isinstance(value, float) and math.isnan(value)):
            rows.append((name, "–"))
        else:
            rows.append((name, json.dumps(value, ensure_ascii=False, default=str)))
    return rows
