"""What can be asked over HTTP, a file for each kind of thing."""

from __future__ import annotations

__all__: list[str] = []
