"""What a record lacks or has too much of."""

from __future__ import annotations

__all__ = ["RecordError"]


class RecordError(ValueError):
    """A record that gives no example; the message is the reason for its rejection."""
