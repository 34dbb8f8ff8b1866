"""What happens in a service, told to whoever listens (server-sent events)."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Event", "Events"]

_KEPT = 1_000
_MOST_UNREAD = 1_000

Event = dict[str, Any]


class Events:
    """Tells listeners; the newest events are kept, so that one who was away can catch up."""

    def __init__(self) -> None:
        self._kept: deque[Event] = deque(maxlen=_KEPT)
        self._listeners: set[asyncio.Queue[Event | None]] = set()
        self._next = 1

    def tell(self, kind: str, tenant: str | None = None, **what: Any) -> None:
        """Tell of something.

        Args:
            kind: What it is.
            tenant: Whom it concerns; None: the service.
            **what: The rest.
        """
        event = {"id": self._next, "kind": kind, "tenant": tenant, "time": round(time.time(), 3), **what}
        self._next += 1
        self._kept.append(event)
        for listener in self._listeners:
            if listener.qsize() < _MOST_UNREAD:  # one that does not read misses some, and can catch up
                listener.put_nowait(event)

    def since(self, id_: int) -> list[Event]:
        """Those that are kept and newer."""
        return [event for event in self._kept if event["id"] > id_]

    def close(self) -> None:
        """Tell listeners that there will be no more."""
        for listener in self._listeners:
            listener.put_nowait(None)

    async def listen(self, since: int | None, heartbeat_seconds: float) -> AsyncIterator[Event | None]:
        """Events from now on, or newer than one; None where nothing has happened for a while.

        Args:
            since: The id of the one that was seen last; None: from now on.
            heartbeat_seconds: The while.
        """
        with self._listening() as listener:
            for event in [] if since is None else self.since(since):
                yield event
            while True:
                try:
                    event_or_end = await asyncio.wait_for(listener.get(), heartbeat_seconds)
                except TimeoutError:
                    yield None
                    continue
                if event_or_end is None:
                    return
                yield event_or_end

    @contextmanager
    def _listening(self) -> Iterator[asyncio.Queue[Event | None]]:
        listener: asyncio.Queue[Event | None] = asyncio.Queue()
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)
