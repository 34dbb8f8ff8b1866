"""Whether an example is held, waits, or is out."""

from __future__ import annotations

__all__: list[str] = []
