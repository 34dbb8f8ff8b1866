"""Model folders: found, read, written, checked."""

from __future__ import annotations

__all__: list[str] = []
