"""The slow phase: a tuned trunk, and the head folded anew."""

from __future__ import annotations

__all__: list[str] = []
