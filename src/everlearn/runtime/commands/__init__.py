"""What each command does."""

from __future__ import annotations

__all__: list[str] = []
