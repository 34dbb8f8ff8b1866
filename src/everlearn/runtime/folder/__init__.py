"""A run folder: its record, its settings, its versions, its files for readers."""

from __future__ import annotations

__all__: list[str] = []
