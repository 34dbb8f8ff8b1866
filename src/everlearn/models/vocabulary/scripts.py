"""Scripts that are written without spaces between words."""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["spaceless_runs", "split_units"]

# Thai and Lao, Tibetan, Myanmar, Khmer, kana with extensions, Bopomofo, CJK ideographs with extensions.
_SPACELESS = (
    "\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3041-\u30ff\u3105-\u312f\u31a0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U0001b000-\U0001b16f\U00020000-\U000323af"
)
_RUN = re.compile(f"[{_SPACELESS}]+")
_UNIT = re.compile(rf"[{_SPACELESS}]|[^\W{_SPACELESS}]+")


def spaceless_runs(text: str) -> Iterator[str]:
    """The longest runs of such characters in a text."""
    for match in _RUN.finditer(text):
        yield match[0]


def split_units(text: str) -> list[str]:
    """What counts as a word: a run of letters and digits, or one character of such a script."""
    return _UNIT.findall(text)
