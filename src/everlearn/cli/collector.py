"""Python's garbage collector while a command learns."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["passed_over_objects"]


@contextmanager
def passed_over_objects() -> Iterator[Callable[[], None]]:
    """Gives a function: what is there when it is called is passed over by the collector until the block ends.

    A full collection walks all objects of the libraries, a tenth of a second at a time. They stay anyway.
    """
    if gc.get_freeze_count() > 0:  # by a program that sees to it for itself
        yield lambda: None
        return

    def pass_over() -> None:
        gc.collect()
        gc.freeze()

    try:
        yield pass_over
    finally:
        gc.unfreeze()  # or libraries that count their objects at exit believe these leaked
