"""The shapes in which records come, and how each becomes a flat one."""

from __future__ import annotations

__all__: list[str] = []
