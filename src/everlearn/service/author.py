"""Who asks, known to whatever is done for them: no route can leave it out of what the journal notes."""

from __future__ import annotations

from contextvars import ContextVar

__all__ = ["AUTHOR"]

AUTHOR: ContextVar[str | None] = ContextVar("author", default=None)
"""The name of the key, or "anybody"; None: the service does something by itself."""
