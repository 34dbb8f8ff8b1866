"""How much time may be spent on something that is repeated: a share of all time, with some saved up."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Allowance"]

_MOST_SAVED_SECONDS = 0.2


class Allowance:
    """Time to spend, which comes in at a rate and can be saved up a little.

    >>> now = [0.0]
    >>> allowance = Allowance(0.25, clock=lambda: now[0])
    >>> allowance.spend(0.3)
    >>> round(allowance.seconds_to_wait(), 3)
    0.4
    >>> now[0] = 0.4
    >>> allowance.seconds_to_wait()
    0.0

    Args:
        share: Seconds that come in each second; 1: no bound.
        clock: Tells the time, in seconds.
    """

    def __init__(self, share: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._share = share
        self._clock = clock
        self._saved = _MOST_SAVED_SECONDS
        self._at = clock()

    def seconds_to_wait(self) -> float:
        """Until there is something to spend; 0: there is."""
        self._come_in()
        return 0.0 if self._share >= 1 else max(0.0, -self._saved / self._share)

    def spend(self, seconds: float) -> None:
        """Note what was spent, be it more than there was."""
        self._come_in()
        self._saved -= seconds

    def _come_in(self) -> None:
        now = self._clock()
        self._saved = min(_MOST_SAVED_SECONDS, self._saved + (now - self._at) * self._share)
        self._at = now
