"""The loop: intake, step, saving, publishing."""

from __future__ import annotations

__all__: list[str] = []
