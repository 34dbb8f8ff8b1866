"""What can be made again at little cost, and is let go while other things are used more.

A process may hold thousands of learners of few examples. What each remembers is small; what it predicts by is
larger, and derived. So all of them share a room: what was not used for longest is let go when it is full, and
made again, to the bit, when it is asked for.
"""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

__all__ = ["ROOM_BYTES", "Kept", "Remade", "Spare"]

T = TypeVar("T")

ROOM_BYTES = 320 << 20
"""For all learners of the process together; one learner alone needs a tenth of it at most."""


class Spare(Generic[T]):
    """Something that may be let go.

    Args:
        value: What.
        num_bytes: About how much memory it takes.
    """

    def __init__(self, value: T, num_bytes: int) -> None:
        self._value: T | None = value
        _ROOM.put(self, num_bytes)

    def get(self) -> T | None:
        """What it is; None: it was let go."""
        value = self._value
        if value is not None:
            _ROOM.use(self)
        return value

    def let_go(self) -> None:
        """Hold it no longer."""
        self._value = None


class Kept(Generic[T]):
    """Something that is not let go: to make it again is dear.

    Args:
        value: What.
    """

    def __init__(self, value: T) -> None:
        self._value = value

    def get(self) -> T:
        """What it is."""
        return self._value


class Remade(Generic[T]):
    """Something that is made again where it was let go.

    Args:
        make: Makes it, the same each time.
        size: About how many bytes it takes.
    """

    def __init__(self, make: Callable[[], T], size: Callable[[T], int]) -> None:
        self._make = make
        self._size = size
        self._spare: Spare[T] | None = None

    def holding(self, value: T) -> Remade[T]:
        """Itself, with what was made already."""
        self._spare = Spare(value, self._size(value))
        return self

    def get(self) -> T:
        """What it is."""
        value = None if self._spare is None else self._spare.get()
        if value is None:
            value = self._make()
            self.holding(value)
        return value


class _Room:
    """Which spare things there are, the one that was not used for longest first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: OrderedDict[int, tuple[weakref.ref[Spare[Any]], int]] = OrderedDict()
        self._num_bytes = 0
        # A weak reference may die at any moment, also within the lock; so its entry is taken out later.
        self._dead: deque[tuple[int, weakref.ref[Spare[Any]]]] = deque()

    def put(self, spare: Spare[Any], num_bytes: int) -> None:
        key = id(spare)
        reference = weakref.ref(spare, lambda dead: self._dead.append((key, dead)))
        with self._lock:
            self._bury()
            self._take_out(key)
            self._entries[key] = (reference, num_bytes)
            self._num_bytes += num_bytes
            while self._num_bytes > ROOM_BYTES and len(self._entries) > 1:
                oldest = self._take_out(next(iter(self._entries)))
                if oldest is not None:
                    oldest.let_go()

    def use(self, spare: Spare[Any]) -> None:
        with self._lock:
            if id(spare) in self._entries:
                self._entries.move_to_end(id(spare))

    def _bury(self) -> None:
        while self._dead:
            key, reference = self._dead.popleft()
            if key in self._entries and self._entries[key][0] is reference:
                self._take_out(key)

    def _take_out(self, key: int) -> Spare[Any] | None:
        reference, num_bytes = self._entries.pop(key, (None, 0))
        self._num_bytes -= num_bytes
        return None if reference is None else reference()


_ROOM = _Room()
