"""Ctrl-C and SIGTERM as a flag: the batch is finished and saved before the process ends."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["StopFlag", "stop_on_signals"]


class StopFlag:
    """Says whether the run was asked to stop."""

    def __init__(self) -> None:
        self.requested = False


@contextmanager
def stop_on_signals(notify: Callable[[], None] = lambda: None) -> Iterator[StopFlag]:
    """Set the flag at the first SIGINT or SIGTERM; a second one interrupts at once.

    Args:
        notify: Called at the first signal, to tell the user.
    """
    flag = StopFlag()

    def stop(number: int, frame: FrameType | None) -> None:
        if flag.requested:
            raise KeyboardInterrupt
        flag.requested = True
        notify()

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield flag
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
