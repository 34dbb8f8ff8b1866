"""How a record begins, for messages."""

from __future__ import annotations

__all__ = ["excerpt_of"]

_EXCERPT_CHARACTERS = 200


def excerpt_of(raw: bytes | str) -> str:
    """How a record begins, printable, at most 200 characters."""
    if isinstance(raw, bytes):
        # Four bytes make at most one character of valid UTF-8, so this prefix is always enough.
        text = raw[: 4 * _EXCERPT_CHARACTERS].decode("utf-8", errors="replace")
    else:
        text = raw[:_EXCERPT_CHARACTERS].encode("utf-8", errors="replace").decode()
    text = text.rstrip("\r\n")[:_EXCERPT_CHARACTERS]
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
