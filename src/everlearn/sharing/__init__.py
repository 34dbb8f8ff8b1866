"""Weights that many processes use and only one copy of which is in memory."""

from __future__ import annotations

__all__: list[str] = []
