"""What a run did: versions, their differences, going back, review, merging, verifying."""

from __future__ import annotations

__all__: list[str] = []
