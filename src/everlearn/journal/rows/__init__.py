"""Rows of the journal: examples, steps, what was rejected."""

from __future__ import annotations

__all__: list[str] = []
