"""What decides whether a candidate is served."""

from __future__ import annotations

__all__: list[str] = []
