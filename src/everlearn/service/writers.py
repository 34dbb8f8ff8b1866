"""The process that writes text for language models and encoder-decoders, started when it is first asked."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from everlearn.errors import RunError
from everlearn.service.child import Child
from everlearn.service.problems import Problem, problem_of
from everlearn.service.process_host import ProcessHost

__all__ = ["Writer", "Written"]

_LOG = logging.getLogger(__name__)

_SECONDS_TO_END = 5.0
_MOST_WAITING = 64


@dataclass(frozen=True, slots=True)
class Written:
    """The end of a text.

    Attributes:
        end: "stop": it ended by itself, or by what it was to end with; "length": it was cut.
        prompt_tokens: Tokens that were read.
        completion_tokens: Tokens that were written.
        by: Version and step of what has written it.
    """

    end: str
    prompt_tokens: int
    completion_tokens: int
    by: dict[str, Any]


class Writer:
    """The process that writes. Where it has ended by itself, it is started again when it is next asked.

    Args:
        host: Starts the process.
        place: What is served.
        threads: That it computes with.
        timeout_seconds: Longest wait for the next piece of a text.
    """

    def __init__(self, host: ProcessHost, place: Path, *, threads: int, timeout_seconds: float) -> None:
        self._child = Child(host, "writer", [str(place), str(threads)])
        self._timeout_seconds = timeout_seconds
        self._numbers = count(1)
        self._open: dict[int, asyncio.Queue[dict[str, Any] | None]] = {}
        self._starting = asyncio.Lock()
        self._listener: asyncio.Task[None] | None = None
        self._is_closing = False

    @property
    def pid(self) -> int | None:
        """Of the process; None: there is none at the moment."""
        return self._child.pid

    async def write(
        self,
        tenant: str,
        version: int | None,
        prompt: str | list[dict[str, str]],
        settings: Mapping[str, Any],
        *,
        chat: bool,
    ) -> AsyncGenerator[str | Written]:
        """Let a text be written: its pieces, then its end. Where nobody reads on, it is not written on.

        Args:
            tenant: Whose model writes.
            version: Which of it; None: what is served.
            prompt: The beginning of a document, a source to translate, or the messages of a chat.
            settings: By the names of ``WritingSettings``; None stands for what suits the model.
            chat: The prompt is a chat.

        Raises:
            Problem: What the process has told of as an error; too many texts wait, or it took too long.
        """
        if len(self._open) >= _MOST_WAITING:
            raise Problem("texts-waiting", f"{len(self._open)} texts are being written", retry_after=5)
        number = next(self._numbers)
        message = {
            "number": number,
            "op": "write",
            "tenant": tenant,
            "version": version,
            "prompt": prompt,
            "chat": chat,
            "settings": dict(settings),
        }
        told = self._open[number] = asyncio.Queue()
        is_done, is_begun, is_again = False, False, False
        try:
            await self._send(message)
            while True:
                one = await self._next(told)
                if one is None and not is_begun and not is_again:
                    is_again = True
                    await self._send(message)
                elif one is None:
                    raise Problem("process-lost", "the process that writes has ended", retry_after=1)
                elif "error" in one:
                    is_done = True
                    raise problem_of(one)
                elif "text" in one:
                    is_begun = True
                    yield one["text"]
                else:
                    is_done = True
                    yield Written(one["end"], one["prompt_tokens"], one["completion_tokens"], one["by"])
                    return
        finally:
            del self._open[number]
            if not is_done and self._child.pid is not None:
                await self._child.send({"number": number, "op": "stop"})

    async def close(self) -> None:
        """End the process; what it is writing is left."""
        self._is_closing = True
        async with self._starting:
            await self._child.end(_SECONDS_TO_END)
        if self._listener is not None:
            await self._listener

    async def _next(self, told: asyncio.Queue[dict[str, Any] | None]) -> dict[str, Any] | None:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await told.get()
        except TimeoutError:
            raise Problem(
                "timed-out", f"nothing was written for {self._timeout_seconds:g} s", retry_after=5
            ) from None

    async def _send(self, message: dict[str, Any]) -> None:
        """Send a message, to a process that runs."""
        async with self._starting:
            if self._is_closing:
                raise Problem("stopping", "the service is stopping", retry_after=5)
            if self._listener is None or self._listener.done():
                try:
                    await self._child.start()
                except RunError as error:
                    raise Problem("process-lost", str(error), retry_after=5) from None
                self._listener = asyncio.create_task(self._listen())
        await self._child.send(message)  # where that fails, the listener finds that the process has ended

    async def _listen(self) -> None:
        """Pass on what the process tells, until it ends."""
        while (told := await self._child.receive()) is not None:
            queue = self._open.get(told["to"])
            if queue is not None:
                queue.put_nowait(told)
        if not self._is_closing:
            _LOG.warning("the process that writes has ended by itself")
        await self._child.end(_SECONDS_TO_END)
        for queue in self._open.values():
            queue.put_nowait(None)
