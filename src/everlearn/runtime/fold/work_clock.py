"""Where the time of a run goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, get_args

__all__ = ["WorkClock"]

Work = Literal["encode", "predict", "learn", "evaluate", "save"]


@dataclass(slots=True)
class WorkClock:
    """Wall-clock seconds by kind of work.

    Attributes:
        seconds: ``encode`` (texts to codes), ``predict``, ``learn`` (learning, and solving for a fresh
            predictor), ``evaluate`` (scores, held-out sets, reports), ``save`` (run folder).
    """

    seconds: dict[Work, float] = field(default_factory=lambda: dict.fromkeys(get_args(Work), 0.0))

    @contextmanager
    def measure(self, work: Work) -> Iterator[None]:
        """Add the time that the block takes."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[work] += time.perf_counter() - start
