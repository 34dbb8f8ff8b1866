"""A text for a text."""

from __future__ import annotations

__all__: list[str] = []
