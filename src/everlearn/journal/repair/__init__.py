"""Damage: found, passed over, mended."""

from __future__ import annotations

__all__: list[str] = []
