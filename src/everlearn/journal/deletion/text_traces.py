"""Whether an excerpt of a record repeats some of certain texts, however the record's file spelled them.

A record that could not be read is kept with how it begins, as raw as it came: escaped as JSON or CSV does it,
cut anywhere, or beginning in the middle of a text that a line end tore. So only letters and digits are
compared, with escapes undone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["TextTraces"]

_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)
_CUT_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?$")
_WINDOW = 16
_STRIDE = 8
_CERTAIN = _WINDOW + _STRIDE
"""Letters in a row that no text and excerpt share without being noticed."""
_LEAST = 8
"""Letters at the end of an excerpt, or of all of it, that are told to be of a text."""
_MOST_LETTERS = 1_000_000
_MOST_SHORT = 2_000


class TextTraces:
    """Texts, prepared to be found in many excerpts. With very many of them, every excerpt counts as one.

    Args:
        texts: The texts; blank ones are passed over.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._short: set[str] = set()
        self._odd: set[str] = set()
        self._windows: set[str] = set()
        self._beginnings: set[str] = set()
        self._joined = ""
        num_letters = 0
        self._are_too_many = False
        joined = []
        for text in texts:
            letters = _letters(text)
            num_letters += len(letters)
            if num_letters > _MOST_LETTERS or len(self._short) + len(self._odd) > _MOST_SHORT:
                self._are_too_many = True
                break
            joined.append(letters)
            if not letters:
                self._odd.add(text.strip())
            elif len(letters) < _CERTAIN:
                self._short.add(letters)
            self._windows.update(letters[k : k + _WINDOW] for k in range(len(letters) - _WINDOW + 1))
            self._beginnings.update(letters[:k] for k in range(_LEAST, min(len(letters), _CERTAIN) + 1))
        self._odd.discard("")
        self._joined = "\n".join(joined)

    def are_in(self, excerpt: str) -> bool:
        """Whether an excerpt repeats some of one of the texts.

        >>> traces = TextTraces(["Frau Müller schuldet 300 Euro seit März", "ok", "🙂"])
        >>> traces.are_in('{"n": 1, "text": "Frau M\\\\u00fcller schuldet 3')
        True
        >>> traces.are_in("300 Euro seit M"), traces.are_in("300 francs since May"), traces.are_in("🙂!")
        (True, False, True)
        """
        if self._are_too_many:
            return True
        letters = _letters(excerpt)
        return (
            any(piece in letters for piece in self._short)
            or any(piece in excerpt for piece in self._odd)
            or any(letters[k : k + _WINDOW] in self._windows for k in range(0, len(letters), _STRIDE))
            or any(letters[-k:] in self._beginnings for k in range(_LEAST, _CERTAIN))
            or (_LEAST <= len(letters) < _CERTAIN and letters in self._joined)
        )


def _letters(text: str) -> str:
    if "\\" in text:
        text = _ESCAPE.sub(_unescaped, _CUT_ESCAPE.sub("", text))
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return "".join(filter(str.isalnum, text))


def _unescaped(escape: re.Match[str]) -> str:
    return chr(int(escape[1], 16)) if escape[1] else " "
