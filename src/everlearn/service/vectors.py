"""Texts of all callers that are to become vectors, gathered into batches: a pass over many costs less."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from everlearn.service.problems import Problem
from everlearn.service.workers import Workers

__all__ = ["Vectors"]

_Key = tuple[str, bool]
"""Tenant, and whether vectors have length 1: what one message can ask."""


@dataclass(slots=True, eq=False)
class _Waiting:
    text: str
    vector: asyncio.Future[tuple[str, int]]


class Vectors:
    """Asks the prediction processes for vectors; while all of them are busy, texts gather.

    Args:
        workers: The processes.
    """

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._waiting: dict[_Key, deque[_Waiting]] = {}
        self._asking: set[asyncio.Task[None]] = set()
        self._num_asking = 0  # a task that has just found nothing waiting is still in the set

    async def of(self, tenant: str, texts: Sequence[str], *, normalize: bool) -> list[tuple[str, int]]:
        """For each text its vector, float32 in little-endian order as base64, and how many tokens were read.

        Raises:
            Problem: What a process has told of as an error; or too many texts are waiting.
        """
        num_waiting = sum(map(len, self._waiting.values()))
        if num_waiting and num_waiting + len(texts) > self._workers.max_waiting:
            raise Problem(
                "texts-waiting",
                f"{num_waiting:,} texts are waiting, and {self._workers.max_waiting:,} may",
                retry_after=1,
            )
        loop = asyncio.get_running_loop()
        asked = [_Waiting(text, loop.create_future()) for text in texts]
        self._waiting.setdefault((tenant, normalize), deque()).extend(asked)
        for _ in range(min(len(texts), self._workers.num_processes - self._num_asking)):
            self._num_asking += 1
            task = asyncio.create_task(self._ask())
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)
        return await asyncio.gather(*(one.vector for one in asked))

    async def _ask(self) -> None:
        """Have batches made vectors of, one after the other, until nothing waits."""
        try:
            while self._waiting:
                key = next(iter(self._waiting))
                waiting = self._waiting.pop(key)
                # Divided among the processes: one that takes all leaves the others nothing.
                most = min(self._workers.max_batch, -(-len(waiting) // self._workers.num_processes))
                batch = [waiting.popleft() for _ in range(most)]
                if waiting:
                    self._waiting[key] = waiting  # behind those of others
                await self._make(key, [one for one in batch if not one.vector.done()])
        finally:
            self._num_asking -= 1

    async def _make(self, key: _Key, batch: Sequence[_Waiting]) -> None:
        if not batch:
            return
        tenant, normalize = key
        try:
            told = await self._workers.tell(
                "embed", tenant=tenant, texts=[one.text for one in batch], normalize=normalize
            )
        except Problem as problem:
            if len(batch) > 1 and problem.kind.status < 500:  # one text's fault is not the others'
                for one in batch:
                    await self._make(key, [one])
                return
            for one in batch:
                if not one.vector.done():
                    one.vector.set_exception(problem)
            return
        for one, *made in zip(batch, told["vectors"], told["tokens"], strict=True):
            if not one.vector.done():
                one.vector.set_result((made[0], made[1]))
