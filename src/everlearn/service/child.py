"""A process of the service, which answers messages through pipes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from everlearn.errors import RunError
from everlearn.pipe_frames import LENGTH, frame_of, message_of

__all__ = ["Child"]


class Child:
    """A Python module that runs as a process of its own.

    Args:
        module: Its name.
        arguments: Of its command line.
        variables: Of its environment, beside this process's.
    """

    def __init__(
        self, module: str, arguments: Sequence[str], variables: Mapping[str, str] | None = None
    ) -> None:
        self._command = [sys.executable, "-m", module, *arguments]
        self._variables = dict(variables or {})
        self._process: Process | None = None

    @property
    def pid(self) -> int | None:
        """Of the process; None: there is none."""
        process = self._process
        return None if process is None or process.returncode is not None else process.pid

    async def start(self) -> dict[str, Any]:
        """Start it, and return what it says when it is ready.

        Raises:
            RunError: It cannot start; the message says why.
        """
        source = str(Path(__file__).resolve().parents[2])
        path = os.environ.get("PYTHONPATH")
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=PIPE,
            stdout=PIPE,
            env={
                **os.environ,
                "PYTHONPATH": source if not path else f"{source}{os.pathsep}{path}",
                **self._variables,
            },
            start_new_session=True,  # Ctrl-C is for the service to deal with
        )
        ready = await self.receive()
        if ready is None:
            raise RunError(f"a process of the service could not be started: {await self._how_it_ended()}")
        if "error" in ready:
            raise RunError(str(ready["message"]))
        return dict(ready)

    async def _how_it_ended(self) -> str:
        assert self._process is not None
        code = await self._process.wait()
        if code < 0:  # for lack of memory, the system kills without a word
            return f"it was ended by signal {-code} ({signal.strsignal(-code)})"
        return f"it ended with {code}; its error is above"

    async def send(self, message: Any) -> bool:
        """Send a message; False: the process has ended."""
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(frame_of(message))
            await self._process.stdin.drain()
        except (ConnectionError, RuntimeError):
            return False
        return True

    async def receive(self) -> Any:
        """The next message; None: the process has ended."""
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            (size,) = LENGTH.unpack(await self._process.stdout.readexactly(LENGTH.size))
            return message_of(await self._process.stdout.readexactly(size))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def end(self, timeout_seconds: float) -> None:
        """Let it do what is left, and end; after the time it is killed."""
        process = self._process
        if process is None:
            return
        if process.stdin is not None:
            with suppress(ConnectionError, RuntimeError):
                process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), timeout_seconds)
        except TimeoutError:
            process.kill()
            await process.wait()

    def kill(self) -> None:
        """End it at once."""
        if self.pid is not None and self._process is not None:
            self._process.kill()
