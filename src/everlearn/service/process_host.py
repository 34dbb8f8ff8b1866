"""The process that the service's others are forked from (:mod:`everlearn.runtime.serving.host`)."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

from everlearn.errors import RunError

__all__ = ["Forked", "ProcessHost", "how_it_ended"]

_SECONDS_TO_END = 5.0
_SECONDS_BETWEEN_LOOKS = 0.05

_Ends = dict[int, asyncio.Future["int | None"]]
"""Processes by their numbers, and what is done when they have ended."""


@dataclass(frozen=True, slots=True, eq=False)
class Forked:
    """A process.

    Attributes:
        pid: Its number.
        reader: What it says.
        writer: What it is told.
        ended: Is done when it has ended: its exit code, or the negative number of the signal that ended it;
            None: nobody knows.
    """

    pid: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    ended: asyncio.Future[int | None]


class ProcessHost:
    """Starts the processes of a service, from one that has loaded their libraries.

    Where that one has ended, another takes its place when a process is to be started; those that it had
    started go on.
    """

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._host: _Host | None = None
        self._is_closing = False
        self._starting: set[asyncio.Task[Forked]] = set()
        self._looking: set[asyncio.Task[None]] = set()

    @property
    def pid(self) -> int | None:
        """Of the process; None: there is none."""
        return None if self._host is None or self._host.has_ended else self._host.process.pid

    async def start(self, name: str, arguments: Sequence[str]) -> Forked:
        """Start a process.

        Args:
            name: "learner", "worker" or "writer".
            arguments: What it is to know.

        Raises:
            RunError: It cannot be started.
        """
        starting = asyncio.create_task(self._start(name, arguments))
        self._starting.add(starting)
        starting.add_done_callback(self._starting.discard)
        try:
            # It goes on where whoever asked has gone: the answer would be taken for that to something else.
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            starting.add_done_callback(_let_end)
            raise

    async def close(self) -> None:
        """End the process; those that it has started go on."""
        self._is_closing = True
        if self._starting and self._host is not None:
            self._host.kill()
        async with self._turn:
            await self._end()

    async def _start(self, name: str, arguments: Sequence[str]) -> Forked:
        how = "was ended"
        async with self._turn, _as_run_errors():
            for _ in range(2):  # the first may have been ended a moment ago
                if self._is_closing:
                    break
                if self._host is None or self._host.has_ended:
                    await self._end()
                    self._host = await _Host.started(self._look)
                    if self._is_closing:
                        self._host.kill()
                forked = await self._host.forked({"process": name, "arguments": list(arguments)})
                if forked is not None:
                    return forked
                how = how_it_ended(await self._host.process.wait())
        raise RunError(f"the process that the others are forked from {how}; its error is above")

    async def _end(self) -> None:
        if self._host is not None:
            await self._host.end()
            self._host = None

    def _look(self, left: _Ends) -> None:
        looking = asyncio.create_task(_seen_to_end(left))
        self._looking.add(looking)
        looking.add_done_callback(self._looking.discard)


class _Host:
    """One process that others are forked from."""

    def __init__(
        self,
        process: Process,
        asked: socket.socket,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        on_ended: Callable[[_Ends], None],
    ) -> None:
        self.process = process
        self.has_ended = False
        self._socket = asked
        self._reader, self._writer = streams
        self._on_ended = on_ended
        self._new: asyncio.Queue[tuple[int, asyncio.Future[int | None]] | str | None] = asyncio.Queue()
        self._running: _Ends = {}
        self._listener = asyncio.create_task(self._listen())

    @classmethod
    async def started(cls, on_ended: Callable[[_Ends], None]) -> Self:
        """One that loads now.

        Args:
            on_ended: Is told of the processes that outlive it.
        """
        source = str(Path(__file__).resolve().parents[2])
        path = os.environ.get("PYTHONPATH")
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "everlearn.runtime.serving.host",
                stdin=theirs.fileno(),
                env={**os.environ, "PYTHONPATH": source if not path else f"{source}{os.pathsep}{path}"},
                start_new_session=True,  # Ctrl-C is for the service to deal with
            )
        return cls(process, ours, await asyncio.open_connection(sock=ours), on_ended)

    async def forked(self, message: dict[str, object]) -> Forked | None:
        """A process that was just started; None: the host has ended.

        Raises:
            RunError: The system has no room for one more.
        """
        ours, theirs = socket.socketpair()
        with theirs, suppress(BrokenPipeError, ConnectionResetError):  # the listener finds that, too
            socket.send_fds(self._socket, [json.dumps(message).encode()], [theirs.fileno()])
        new = await self._new.get()
        if isinstance(new, tuple):
            return Forked(new[0], *await asyncio.open_connection(sock=ours), new[1])
        ours.close()
        if new is not None:
            raise RunError(f"a process of the service could not be started: {new}")
        return None

    async def end(self) -> None:
        """Let the process end."""
        self._writer.close()
        try:
            await asyncio.wait_for(self.process.wait(), _SECONDS_TO_END)
        except TimeoutError:
            self.kill()
            await self.process.wait()
        await self._listener

    def kill(self) -> None:
        """End it at once."""
        with suppress(ProcessLookupError):
            self.process.kill()

    async def _listen(self) -> None:
        told = asyncio.create_task(self._take_what_is_told())
        ended = asyncio.create_task(self.process.wait())
        await asyncio.wait((told, ended), return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait((told,), timeout=_SECONDS_TO_END)  # its last words
        for task in (told, ended):
            task.cancel()
        self.has_ended = True
        self._new.put_nowait(None)
        self._on_ended(self._running)

    async def _take_what_is_told(self) -> None:
        with suppress(ConnectionError):
            while line := await self._reader.readline():
                told = json.loads(line)
                if "error" in told:
                    self._new.put_nowait(str(told["error"]))
                elif "code" not in told:
                    ended = self._running[told["pid"]] = asyncio.get_running_loop().create_future()
                    self._new.put_nowait((told["pid"], ended))
                elif told["pid"] in self._running:
                    self._running.pop(told["pid"]).set_result(told["code"])


@asynccontextmanager
async def _as_run_errors() -> AsyncIterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(f"a process of the service could not be started: {error}") from error


async def _seen_to_end(left: _Ends) -> None:
    """Find out by looking when those have ended that nobody tells of any more."""
    while left:
        for pid in [pid for pid in left if not _is_running(pid)]:
            left.pop(pid).set_result(None)
        await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)


def _let_end(starting: asyncio.Task[Forked]) -> None:
    """Whoever asked for a process has gone."""
    if not starting.cancelled() and starting.exception() is None:
        starting.result().writer.close()


def how_it_ended(code: int | None) -> str:
    """The end of a process, in words."""
    if code is None:
        return "has ended"
    if code < 0:  # for lack of memory, the system kills without a word
        return f"was ended by signal {-code} ({signal.strsignal(-code)})"
    return f"ended with {code}"


def _is_running(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
