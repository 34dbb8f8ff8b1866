"""Encoders: texts to codes."""

from __future__ import annotations

__all__: list[str] = []
