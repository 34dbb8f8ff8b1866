"""What sharing costs and saves: a file for each part, put together in ``__main__``."""

from __future__ import annotations

__all__: list[str] = []
