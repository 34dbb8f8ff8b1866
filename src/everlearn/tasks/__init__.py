"""What a run learns: one folder a task, one line in the table."""

from __future__ import annotations

__all__: list[str] = []
