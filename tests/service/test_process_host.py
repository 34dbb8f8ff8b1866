"""What a service's processes are forked from: they outlive it, and it tells how they end."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from everlearn.errors import RunError
from everlearn.service.child import Child
from everlearn.service.process_host import ProcessHost


def with_host(act: Callable[[ProcessHost], Awaitable[None]]) -> None:
    async def run() -> None:
        host = ProcessHost()
        try:
            await asyncio.wait_for(asyncio.ensure_future(act(host)), 120)
        finally:
            await host.close()

    asyncio.run(run())


async def count(worker: Child, place: Path) -> int:
    assert await worker.send({"op": "count", "tenant": place.name, "texts": ["where is my invoice?"]})
    told = await worker.receive()
    return int(told["tokens"][0])


def test_processes_outlive_it_and_another_takes_its_place(learned: Path) -> None:
    async def act(host: ProcessHost) -> None:
        first, second = Child(host, "worker", [str(learned)]), Child(host, "worker", [str(learned)])
        await first.start()
        assert host.pid is not None
        former = host.pid
        for pid in (former, first.pid):  # as what stops a whole service does
            os.kill(pid or 0, signal.SIGTERM)
        assert await count(first, learned) > 4
        os.kill(former, signal.SIGKILL)
        while host.pid is not None:
            await asyncio.sleep(0.01)
        assert await count(first, learned) > 4
        await second.start()
        assert host.pid not in (None, former)
        assert await count(second, learned) == await count(first, learned)
        pids = [first.pid, second.pid]
        await asyncio.gather(first.end(30), second.end(30))
        assert [first.pid, second.pid] == [None, None]
        assert not any(
            psutil.pid_exists(pid or 0) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
            for pid in pids
        )

    with_host(act)


def test_it_tells_how_a_process_has_ended(learned: Path, tmp_path: Path) -> None:
    async def act(host: ProcessHost) -> None:
        worker = Child(host, "worker", [str(learned)])
        await worker.start()
        shared = psutil.Process(worker.pid).memory_full_info()
        assert shared.pss < 0.9 * shared.rss  # the libraries are in memory once
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        assert await worker.receive() is None
        await worker.end(30)
        assert worker.pid is None
        await worker.start()
        assert await count(worker, learned) > 4
        await worker.end(30)
        with pytest.raises(RunError, match="neither a run nor a hub"):
            await Child(host, "learner", [str(tmp_path / "nothing"), "1", "1"]).start()
        with pytest.raises(RunError, match="could not be started: it ended with 1; its error is above"):
            await Child(host, "nobody", []).start()

    with_host(act)


def test_who_asks_for_a_process_and_goes_leaves_none(learned: Path) -> None:
    async def act(host: ProcessHost) -> None:
        going = asyncio.create_task(host.start("worker", [str(learned)]))
        while host.pid is None:
            await asyncio.sleep(0.01)
        going.cancel()
        worker = Child(host, "worker", [str(learned)])
        await worker.start()
        with pytest.raises(asyncio.CancelledError):
            await going
        assert await count(worker, learned) > 4
        while [one.pid for one in psutil.Process(host.pid).children()] != [worker.pid]:
            await asyncio.sleep(0.01)
        await worker.end(30)

    with_host(act)


def test_one_that_cannot_load_is_told_with_how_it_ended(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "torch.py").write_text("raise SystemExit(7)", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    async def act(host: ProcessHost) -> None:
        with pytest.raises(RunError, match="forked from ended with 7; its error is above"):
            await host.start("worker", [str(tmp_path)])

    with_host(act)


def test_it_ends_with_its_service(learned: Path) -> None:
    async def act(host: ProcessHost) -> None:
        worker = Child(host, "worker", [str(learned)])
        await worker.start()
        pid = host.pid
        await host.close()
        assert host.pid is None
        assert not psutil.pid_exists(pid or 0)
        assert await count(worker, learned) > 4
        await worker.end(30)

    with_host(act)
