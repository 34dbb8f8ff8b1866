"""Prediction processes load beside the one that learns; what goes wrong meanwhile keeps nobody."""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path

import psutil

from everlearn.service.process_host import ProcessHost
from everlearn.service.workers import Workers


def workers_of(host: ProcessHost, place: Path) -> Workers:
    return Workers(host, place, 1, budget_mb=None, max_batch=8, max_waiting=8)


def test_what_could_not_load_is_started_again_when_it_is_needed(learned: Path, tmp_path: Path) -> None:
    place = tmp_path / "desk"

    async def ask() -> int:
        host = ProcessHost()
        workers = workers_of(host, place)
        workers.load()  # there is no run yet
        await asyncio.sleep(0)
        another = await host.start("worker", [str(place)])  # which is started after that one
        assert await another.ended == 0
        another.writer.close()
        while workers.process_ids():
            await asyncio.sleep(0.01)
        shutil.copytree(learned, place)
        await workers.start([place.name])
        assert workers.num_ready == len(workers.process_ids()) == 1
        told = await workers.tell("count", tenant=place.name, texts=["where is my invoice?"])
        await workers.close()
        await host.close()
        return int(told["tokens"][0])

    assert asyncio.run(asyncio.wait_for(ask(), 120)) > 4


def test_what_still_loads_is_ended_at_once(learned: Path) -> None:
    async def end() -> tuple[int, float]:
        host = ProcessHost()
        workers = workers_of(host, learned)
        workers.load()
        while host.pid is None:
            await asyncio.sleep(0.01)
        loading, began = host.pid, time.monotonic()
        await workers.close()
        await host.close()
        return loading, time.monotonic() - began

    loading, seconds = asyncio.run(asyncio.wait_for(end(), 120))
    assert not psutil.pid_exists(loading)
    assert seconds < 4  # it is not waited for
