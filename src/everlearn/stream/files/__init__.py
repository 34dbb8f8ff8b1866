"""Streams that are files and data sets."""

from __future__ import annotations

__all__: list[str] = []
