"""Prediction processes: who is free takes what is waiting."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from everlearn import Run
from everlearn.service.process_host import ProcessHost
from everlearn.service.workers import Workers


def test_a_text_does_not_wait_for_a_process_that_does_something_else(desk: Path) -> None:
    with Run.open(desk) as run:
        run.publish()
    long = "where is the invoice that I was promised on the phone? " * 20

    async def ask() -> bool:
        host = ProcessHost()
        workers = Workers(host, desk, 2, budget_mb=None, max_batch=8, max_waiting=8)
        await workers.start([desk.name])
        embedding = asyncio.create_task(
            workers.tell("embed", tenant=desk.name, texts=[f"{k} {long}" for k in range(128)], normalize=True)
        )
        await asyncio.sleep(0.05)
        for _ in range(3):
            (answer,) = workers.ask(desk.name, ["how do I reset my password?"], 1)
            assert (await answer).said
        is_first = not embedding.done()
        assert len((await embedding)["vectors"]) == 128
        await workers.close()
        await host.close()
        return is_first

    assert asyncio.run(asyncio.wait_for(ask(), 120))


def test_what_comes_is_verified_by_processes_that_run(desk: Path) -> None:
    with Run.open(desk) as run:
        run.publish()

    async def verify() -> None:
        host = ProcessHost()
        workers = Workers(host, desk, 2, budget_mb=None, max_batch=8, max_waiting=8)
        await workers.verify(desk.name, ["0" * 64])  # none has started
        await workers.start([desk.name])
        await workers.verify(desk.name, ["0" * 64])  # that version does not come to be
        os.kill(workers.process_ids()[0], signal.SIGKILL)
        await workers.verify(desk.name, ["0" * 64])
        answers = workers.ask(desk.name, ["how do I reset my password?"] * 8, 1)
        assert all([(await answer).said for answer in answers])
        await workers.verify(desk.name, ["0" * 64])
        await workers.close()
        await host.close()

    asyncio.run(asyncio.wait_for(verify(), 120))
