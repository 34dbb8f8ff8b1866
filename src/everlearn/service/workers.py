"""Prediction processes, and how texts come to them: whoever is free takes what is waiting.

While every process is busy texts gather, so batches grow with the load. One that has become free waits a
moment for those who were just answered to ask again: else it would begin with the first of them alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

from everlearn.errors import RunError
from everlearn.service.child import Child
from everlearn.service.problems import Problem, problem_of
from everlearn.service.process_host import ProcessHost

__all__ = ["Answered", "Workers"]

_LOG = logging.getLogger(__name__)

_SECONDS_TO_END = 5.0
_SECONDS_BETWEEN_STARTS = 1.0
_SECONDS_TO_GATHER = 0.004


@dataclass(frozen=True, slots=True)
class Answered:
    """What was said of a text.

    Attributes:
        said: The answer; None: the tenant has published nothing.
        by: Version and step of what said it.
    """

    said: dict[str, Any] | None
    by: dict[str, Any]


@dataclass(slots=True, eq=False)
class _Waiting:
    tenant: str
    text: str
    top: int
    answer: asyncio.Future[Answered]
    is_again: bool = False


class Workers:
    """The prediction processes of a service.

    Args:
        host: Starts processes.
        place: What is served.
        num_workers: How many processes.
        budget_mb: Memory that each may map, in 10⁶ bytes; None: no bound.
        max_batch: Texts that one is given at once.
        max_waiting: Texts that may wait.
        on_batch: Is told how many texts were in a batch, and how long it took, in seconds.
        on_lost: Is told of each process that ended by itself.
    """

    def __init__(
        self,
        host: ProcessHost,
        place: Path,
        num_workers: int,
        *,
        budget_mb: float | None,
        max_batch: int,
        max_waiting: int,
        on_batch: Callable[[int, float], None] = lambda *_: None,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        budget = [] if budget_mb is None else [str(int(budget_mb * 1e6))]
        self._children = [Child(host, "worker", [str(place), *budget]) for _ in range(num_workers)]
        self._turns = {child: asyncio.Lock() for child in self._children}
        self.max_batch = max_batch
        self.max_waiting = max_waiting
        self._on_batch = on_batch
        self._on_lost = on_lost
        self._queue: deque[_Waiting] = deque()
        self._has_work = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._num_ready = 0
        self._num_asked = 0  # texts that processes have at the moment
        self._least = 1  # texts that must wait before one that gathers goes on
        self._is_closing = False
        self._tenants: list[str] = []
        self._next_children = cycle(self._children)
        self._exchanges: set[asyncio.Task[dict[str, Any] | None]] = set()
        self._loading: dict[Child, asyncio.Task[dict[str, Any]]] = {}

    @property
    def num_waiting(self) -> int:
        """Texts that no process has taken yet."""
        return len(self._queue)

    @property
    def num_processes(self) -> int:
        """How many there are, also where one is just started again."""
        return len(self._children)

    @property
    def num_ready(self) -> int:
        """Processes that can be asked."""
        return self._num_ready

    def process_ids(self) -> list[int]:
        """Of those that run."""
        return [child.pid for child in self._children if child.pid is not None]

    def load(self) -> None:
        """Let the processes load libraries and the encoder, which takes seconds; ``start`` is yet to come."""
        self._loading = {child: asyncio.create_task(child.start()) for child in self._children}

    async def start(self, tenants: Sequence[str]) -> None:
        """Start all processes. Raises RunError where one cannot.

        Args:
            tenants: What these have published is mapped at once: the first texts would wait for it.
        """
        self._tenants = list(tenants)
        await asyncio.gather(*(self._start(child) for child in self._children))
        self._num_ready = len(self._children)
        self._tasks = [asyncio.create_task(self._serve(child)) for child in self._children]

    def ask(self, tenant: str, texts: Sequence[str], top: int) -> list[asyncio.Future[Answered]]:
        """Let texts be answered; each as soon as it is.

        Raises:
            Problem: Too many are waiting.
        """
        if len(self._queue) + len(texts) > self.max_waiting and self._queue:
            raise Problem(
                "texts-waiting",
                f"{len(self._queue):,} texts are waiting, and {self.max_waiting:,} may",
                retry_after=1,
            )
        loop = asyncio.get_running_loop()
        asked = [_Waiting(tenant, text, top, loop.create_future()) for text in texts]
        self._queue.extend(asked)
        if len(self._queue) >= self._least:
            self._has_work.set()
        return [one.answer for one in asked]

    async def tell(self, op: str, **asked: Any) -> dict[str, Any]:
        """Ask one process for something else than an answer to texts, between two of its batches.

        Raises:
            Problem: What the process has told of as an error; or two processes ended while they had this.
        """
        if self._is_closing:
            raise Problem("stopping", "the service is stopping", retry_after=5)
        exchange = asyncio.create_task(self._exchange({"op": op, **asked}))
        self._exchanges.add(exchange)
        exchange.add_done_callback(self._exchanges.discard)
        # The answer is read also where its caller has gone: the next one that comes is another's.
        told = await asyncio.shield(exchange)
        if told is None:
            raise Problem("process-lost", "two prediction processes ended while they had this", retry_after=1)
        if "error" in told:
            raise problem_of(told)
        return told

    async def _exchange(self, message: dict[str, Any]) -> dict[str, Any] | None:
        for _ in range(2):
            free = (child for child in self._children if not self._turns[child].locked())
            child = next(free, None) or next(self._next_children)
            async with self._turns[child]:
                told: dict[str, Any] | None = await child.receive() if await child.send(message) else None
                if told is not None:
                    return told
                await self._lost(child, ())
        return None

    async def verify(self, tenant: str, parts: Sequence[str]) -> None:
        """Let the processes verify what a tenant publishes in a moment, between their batches.

        One half of them after the other, so that somebody is free for the texts that come meanwhile.
        """
        message = {"op": "verify", "tenant": tenant, "parts": list(parts)}
        ready = [child for child in self._children if self._tasks and child.pid is not None]
        for half in (ready[::2], ready[1::2]):
            await asyncio.gather(*(self._let(child, message) for child in half))

    async def drop(self, tenant: str) -> None:
        """Let no process use any more what a tenant has published before."""
        if not self._tasks:  # none has started
            return
        await asyncio.gather(*(self._drop(child, tenant) for child in self._children))

    async def close(self) -> None:
        """Answer what is waiting, and end the processes."""
        self._is_closing = True
        self._has_work.set()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for one in self._queue:
            _fail(one, Problem("stopping", "the service is stopping"))
        for child, loading in self._loading.items():  # whoever still loads hears of no end
            loading.cancel()
            child.kill()
        await asyncio.gather(*self._loading.values(), return_exceptions=True)
        await asyncio.gather(*(child.end(_SECONDS_TO_END) for child in self._children))

    async def _serve(self, child: Child) -> None:
        """Give a process what is waiting, as often as it is free."""
        num_answered = 0
        while share := await self._share(num_answered):
            # Texts are taken in its turn: while it does something else, another process may have them.
            async with self._turns[child]:
                batch = self._batch(share)
                if batch and not await self._answer(child, batch):
                    await self._lost(child, batch)
            num_answered = len(batch)

    async def _share(self, num_answered: int) -> int:
        """Wait until something is waiting: how much of it one is given; 0: the service is closing.

        Args:
            num_answered: Texts that the process has just answered.
        """
        # Those that there are at the moment are divided among the processes and the queue: what waits there
        # keeps a process busy while the callers of its last batch are answered.
        num_texts, parts = num_answered + len(self._queue) + self._num_asked, self._num_ready + 1
        await self._gathered(min(self.max_batch, num_texts // parts))
        while not self._queue:
            if self._is_closing:
                return 0
            self._has_work.clear()
            await self._has_work.wait()
        return max(1, -(-num_texts // parts))

    def _batch(self, share: int) -> list[_Waiting]:
        """What is waiting, as much as one is given; texts whose caller has gone meanwhile are passed over."""
        taken: list[_Waiting] = []
        most = min(self.max_batch, max(share, -(-len(self._queue) // max(1, self._num_ready))))
        while self._queue and len(taken) < most:
            one = self._queue.popleft()
            if not one.answer.done():
                taken.append(one)
        return taken

    async def _gathered(self, num_texts: int) -> None:
        """Wait until so many texts are waiting, but for a moment only."""
        if num_texts < 2 or len(self._queue) >= num_texts or self._is_closing:
            return
        self._least = num_texts
        self._has_work.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(_SECONDS_TO_GATHER):
                await self._has_work.wait()
        self._least = 1
        if self._queue:  # another may be free sooner
            self._has_work.set()

    async def _answer(self, child: Child, batch: Sequence[_Waiting]) -> bool:
        """Let a process answer a batch; False: it has ended."""
        self._num_asked += len(batch)
        try:
            return await self._told(child, batch)
        finally:
            self._num_asked -= len(batch)

    async def _told(self, child: Child, batch: Sequence[_Waiting]) -> bool:
        loop = asyncio.get_running_loop()
        started = loop.time()
        asked = [[one.tenant, one.text, one.top] for one in batch]
        if not await child.send({"op": "answer", "asked": asked}):
            return False
        told = await child.receive()
        if told is None:
            return False
        self._on_batch(len(batch), loop.time() - started)
        if "error" in told:
            for one in batch:
                _fail(one, problem_of(told))
            return True
        for one, said in zip(batch, told["said"], strict=True):
            if said is not None and "error" in said:
                _fail(one, problem_of(said))
            elif not one.answer.done():
                one.answer.set_result(Answered(said, told["by"].get(one.tenant, {})))
        return True

    async def _lost(self, child: Child, batch: Sequence[_Waiting]) -> None:
        """A process has ended: what it had is asked once more, and it is started again."""
        self._num_ready -= 1
        self._on_lost()
        again = []
        for one in batch:
            if one.is_again:
                _fail(one, Problem("process-lost", "two prediction processes ended while they had this text"))
            else:
                one.is_again = True
                again.append(one)
        self._queue.extendleft(reversed(again))
        self._has_work.set()
        while not self._is_closing:
            await child.end(_SECONDS_TO_END)
            try:
                await self._start(child)
            except RunError as error:
                _LOG.error("a prediction process cannot be started: %s", error)
                await asyncio.sleep(_SECONDS_BETWEEN_STARTS)
                continue
            self._num_ready += 1
            return

    async def _start(self, child: Child) -> None:
        if not await self._loaded(child):
            await child.start()
        if self._tenants and await child.send({"op": "map", "tenants": self._tenants}):
            await child.receive()

    async def _loaded(self, child: Child) -> bool:
        """Whether a process has loaded by itself; what kept it may have been put right meanwhile."""
        loading = self._loading.get(child)
        if loading is None:
            return False
        try:
            await loading
        except RunError:
            await child.end(_SECONDS_TO_END)
            return False
        finally:
            self._loading.pop(child, None)
        return True

    async def _drop(self, child: Child, tenant: str) -> None:
        await self._let(child, {"op": "drop", "tenant": tenant})

    async def _let(self, child: Child, message: dict[str, Any]) -> None:
        """Let a process do something between two of its batches; nothing where it has ended."""
        async with self._turns[child]:
            if await child.send(message):
                await child.receive()


def _fail(one: _Waiting, problem: Problem) -> None:
    if not one.answer.done():
        one.answer.set_exception(problem)
