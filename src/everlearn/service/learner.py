"""The process that has the runs: what changes them is asked of it, and what is to be looked up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from everlearn.errors import RunError
from everlearn.service.child import Child
from everlearn.service.problems import Problem, problem_of
from everlearn.service.process_host import ProcessHost

__all__ = ["Learner"]

_LOG = logging.getLogger(__name__)

_SECONDS_TO_END = 120.0
"""What is accepted is learned, and a checkpoint written."""
_SECONDS_BETWEEN_STARTS = 1.0


@dataclass(slots=True, eq=False)
class _Open:
    message: dict[str, Any]
    answer: asyncio.Future[dict[str, Any]]
    is_again: bool = False


class Learner:
    """The process that has the runs of a place.

    Where it ends by itself it is started again, which brings the runs to their journals' newest steps, and
    what it had not answered is asked once more. Asking twice does no harm: every example has its id.

    Args:
        host: Starts the process.
        place: What is served.
        threads: That it computes with.
        publish_share: See ``Desk``.
        budget_mb: As of ``Hub.open``.
        max_waiting: Examples that may wait to be learned.
        on_published: Is told of what a tenant has published some time after its labels were answered.
        on_new_parts: Is told a tenant, and the SHA-256s of what it publishes in a moment; the process waits a
            moment to be told that who predicts has verified them, see ``verified``.
        on_lost: Is told when it ended by itself.
    """

    def __init__(
        self,
        host: ProcessHost,
        place: Path,
        *,
        threads: int,
        publish_share: float,
        budget_mb: float | None,
        max_waiting: int,
        on_published: Callable[[str, dict[str, Any]], None] = lambda *_: None,
        on_new_parts: Callable[[str, list[str]], None] = lambda *_: None,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        budget = [] if budget_mb is None else [str(budget_mb)]
        self._child = Child(host, "learner", [str(place), str(threads), str(publish_share), *budget])
        self.max_waiting = max_waiting
        self._on_published = on_published
        self._on_new_parts = on_new_parts
        self._on_lost = on_lost
        self._numbers = count(1)
        self._open: dict[int, _Open] = {}
        self._task: asyncio.Task[None] | None = None
        self._is_ready = False
        self._is_closing = False
        self.num_waiting = 0
        self.tenants: set[str] = set()
        self.is_hub = False

    @property
    def is_ready(self) -> bool:
        """Whether it can be asked; else what it is asked waits."""
        return self._is_ready

    @property
    def pid(self) -> int | None:
        """Of the process; None: there is none at the moment."""
        return self._child.pid

    async def start(self) -> None:
        """Start it. Raises RunError where it cannot."""
        self._take_ready(await self._child.start())
        self._task = asyncio.create_task(self._listen())

    async def ask(self, op: str, tenant: str | None = None, **asked: Any) -> dict[str, Any]:
        """Ask, and wait for the answer.

        Raises:
            Problem: What the process has told of as an error; or it is stopping, or was lost twice.
        """
        if self._is_closing:
            raise Problem("stopping", "the service is stopping", retry_after=5)
        number = next(self._numbers)
        message = {"number": number, "op": op, **({} if tenant is None else {"tenant": tenant}), **asked}
        one = _Open(message, asyncio.get_running_loop().create_future())
        self._open[number] = one
        if self._is_ready:
            await self._child.send(message)  # where that fails, it is sent again
        told = await one.answer
        if "error" in told:
            raise problem_of(told)
        return told

    async def learn(
        self, tenant: str, examples: list[dict[str, Any]], author: str | None = None
    ) -> dict[str, Any]:
        """Let examples be learned; they are durable when this returns.

        Args:
            tenant: Whose.
            examples: By the names of ``Example``.
            author: Who asks; noted in the journal.

        Raises:
            Problem: Too many are waiting, or as of ``ask``.
        """
        if self.num_waiting and self.num_waiting + len(examples) > self.max_waiting:
            raise Problem(
                "labels-waiting",
                f"{self.num_waiting:,} examples wait to be learned, and {self.max_waiting:,} may",
                retry_after=1,
            )
        self.num_waiting += len(examples)
        try:
            return await self.ask("learn", tenant, examples=examples, author=author)
        finally:
            self.num_waiting -= len(examples)

    async def verified(self, tenant: str) -> None:
        """Say that those who predict have verified what ``on_new_parts`` was told."""
        if self._is_ready and not self._is_closing:
            await self._child.send({"op": "verified", "tenant": tenant})

    async def close(self) -> None:
        """Let it do what it was asked, write checkpoints, and end."""
        self._is_closing = True
        await self._child.end(_SECONDS_TO_END)
        if self._task is not None:
            await self._task

    def kill(self) -> None:
        """End it at once; it is started again."""
        self._child.kill()

    async def _listen(self) -> None:
        while True:
            told = await self._child.receive()
            if told is not None and "parts" in told:
                self._on_new_parts(told["tenant"], told["parts"])
            elif told is not None and "to" not in told:
                self._on_published(told["tenant"], told)
            elif told is not None:
                one = self._open.pop(told["to"], None)
                if one is not None and not one.answer.done():
                    one.answer.set_result(told)
            elif self._is_closing:
                break
            else:
                await self._start_again()
        for one in self._open.values():
            if not one.answer.done():
                one.answer.set_exception(Problem("stopping", "the service has stopped"))
        self._open.clear()

    async def _start_again(self) -> None:
        self._is_ready = False
        self._on_lost()
        for number, one in list(self._open.items()):
            if one.is_again:
                del self._open[number]
                if not one.answer.done():
                    one.answer.set_exception(
                        Problem("process-lost", "the process that learns ended twice while it had this")
                    )
            one.is_again = True
        while not self._is_closing:
            await self._child.end(_SECONDS_BETWEEN_STARTS)
            try:
                self._take_ready(await self._child.start())
            except RunError as error:
                _LOG.error("the process that learns cannot be started: %s", error)
                await asyncio.sleep(_SECONDS_BETWEEN_STARTS)
                continue
            for one in list(self._open.values()):
                await self._child.send(one.message)
            if self._is_closing:  # which has ended the former one
                await self._child.end(_SECONDS_TO_END)
            return

    def _take_ready(self, told: dict[str, Any]) -> None:
        self.tenants, self.is_hub = set(told["tenants"]), told["is_hub"]
        self._is_ready = True
