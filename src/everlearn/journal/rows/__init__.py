"""Rows of the journal: examples, steps, what was refused."""

from __future__ import annotations

__all__: list[str] = []
