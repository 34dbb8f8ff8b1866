"""Prediction processes: who is free takes what is waiting."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from everlearn import Run
from everlearn.service.process_host import ProcessHost
from everlearn.service.workers import Workers


@asynccontextmanager
async def started(place: Path) -> AsyncIterator[Workers]:
    """Two processes that predict by a run, and one that they come from."""
    host = ProcessHost()
    workers = Workers(host, place, 2, budget_mb=None, max_batch=8, max_waiting=8)
    await workers.verify(place.name, ["0" * 64])  # nobody is there to do so
    await workers.start([place.name])
    try:
        yield workers
    finally:
        await workers.close()
        await host.close()


@pytest.fixture
def published(desk: Path) -> Path:
    with Run.open(desk) as run:
        run.publish()
    return desk


def test_a_text_does_not_wait_for_a_process_that_does_something_else(published: Path) -> None:
    long = "where is the invoice that I was promised on the phone? " * 20
    texts = [f"{k} {long}" for k in range(128)]

    async def ask() -> bool:
        async with started(published) as workers:
            embedding = asyncio.create_task(
                workers.tell("embed", tenant=published.name, texts=texts, normalize=True)
            )
            await asyncio.sleep(0.05)
            for _ in range(3):
                (answer,) = workers.ask(published.name, ["how do I reset my password?"], 1)
                assert (await answer).said
            is_first = not embedding.done()
            assert len((await embedding)["vectors"]) == len(texts)
            return is_first

    assert asyncio.run(asyncio.wait_for(ask(), 120))


def test_what_comes_is_verified_by_processes_that_run(published: Path) -> None:
    coming = published.name, ["0" * 64]  # that version does not come to be

    async def verify() -> None:
        async with started(published) as workers:
            await workers.verify(*coming)
            os.kill(workers.process_ids()[0], signal.SIGKILL)
            await workers.verify(*coming)
            answers = workers.ask(published.name, ["how do I reset my password?"] * 8, 1)
            assert all([(await answer).said for answer in answers])
            await workers.verify(*coming)

    asyncio.run(asyncio.wait_for(verify(), 120))
