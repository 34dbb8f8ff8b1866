"""Deleting examples and texts for good."""

from __future__ import annotations

__all__: list[str] = []
