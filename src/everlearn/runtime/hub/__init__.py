"""Many runs on one encoder."""

from __future__ import annotations

__all__: list[str] = []
