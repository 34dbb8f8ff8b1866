"""The fold over the journal: made live, made again, brought back."""

from __future__ import annotations

__all__: list[str] = []
