"""Runs: the loop, the run folder, and what can be done with a run. The only place that knows both."""

from __future__ import annotations

__all__: list[str] = []
