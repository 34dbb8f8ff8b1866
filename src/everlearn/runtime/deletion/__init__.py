"""Forgetting: which examples, and how they go."""

from __future__ import annotations

__all__: list[str] = []
