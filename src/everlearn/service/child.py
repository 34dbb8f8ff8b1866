"""A process of the service, which answers messages through a socket."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from everlearn.errors import RunError
from everlearn.message_frames import LENGTH, frame_of, message_of
from everlearn.service.process_host import Forked, ProcessHost, how_it_ended

__all__ = ["Child"]


class Child:
    """A process that is asked something.

    Args:
        host: Starts it.
        name: "learner", "worker" or "writer".
        arguments: What it is to know.
    """

    def __init__(self, host: ProcessHost, name: str, arguments: Sequence[str]) -> None:
        self._host = host
        self._name = name
        self._arguments = arguments
        self._forked: Forked | None = None

    @property
    def pid(self) -> int | None:
        """Of the process; None: there is none."""
        return None if self._forked is None or self._forked.ended.done() else self._forked.pid

    async def start(self) -> dict[str, Any]:
        """Start it, and return what it says when it is ready.

        Raises:
            RunError: It cannot start; the message says why.
        """
        forked = self._forked = await self._host.start(self._name, self._arguments)
        ready = await self.receive()
        if ready is not None and "error" not in ready:
            return dict(ready)
        how = how_it_ended(await asyncio.shield(forked.ended))
        forked.writer.close()
        if ready is None:
            raise RunError(f"a process of the service could not be started: it {how}; its error is above")
        raise RunError(str(ready["message"]))

    async def send(self, message: Any) -> bool:
        """Send a message; False: the process has ended."""
        assert self._forked is not None
        try:
            self._forked.writer.write(frame_of(message))
            await self._forked.writer.drain()
        except (ConnectionError, RuntimeError):
            return False
        return True

    async def receive(self) -> Any:
        """The next message; None: the process has ended."""
        assert self._forked is not None
        try:
            (size,) = LENGTH.unpack(await self._forked.reader.readexactly(LENGTH.size))
            return message_of(await self._forked.reader.readexactly(size))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def end(self, timeout_seconds: float) -> None:
        """Let it do what is left, and end; after the time it is killed."""
        forked = self._forked
        if forked is None:
            return
        with suppress(ConnectionError, RuntimeError, OSError):
            forked.writer.write_eof()
        try:
            await asyncio.wait_for(asyncio.shield(forked.ended), timeout_seconds)
        except TimeoutError:
            self.kill()
            await asyncio.shield(forked.ended)
        forked.writer.close()

    def kill(self) -> None:
        """End it at once."""
        if self.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
