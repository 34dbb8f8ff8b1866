"""Prediction processes load beside the one that learns; what goes wrong meanwhile keeps nobody."""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path

import psutil

from everlearn.service.workers import Workers


def workers_of(place: Path) -> Workers:
    return Workers(place, 1, budget_mb=None, max_batch=8, max_waiting=8)


def test_what_could_not_load_is_started_again_when_it_is_needed(learned: Path, tmp_path: Path) -> None:
    place = tmp_path / "desk"

    async def ask() -> int:
        workers = workers_of(place)
        workers.load()  # there is no run yet
        while not workers.process_ids():
            await asyncio.sleep(0.01)
        (first,) = workers.process_ids()
        while psutil.pid_exists(first) and psutil.Process(first).status() != psutil.STATUS_ZOMBIE:
            await asyncio.sleep(0.05)
        shutil.copytree(learned, place)
        await workers.start([place.name])
        assert workers.num_ready == 1
        assert workers.process_ids() != [first]
        told = await workers.tell("count", tenant=place.name, texts=["where is my invoice?"])
        await workers.close()
        return int(told["tokens"][0])

    assert asyncio.run(ask()) > 4


def test_what_still_loads_is_ended_at_once(learned: Path) -> None:
    async def end() -> tuple[int, float]:
        workers = workers_of(learned)
        workers.load()
        while not workers.process_ids():
            await asyncio.sleep(0.01)
        (loading,), began = workers.process_ids(), time.monotonic()
        await workers.close()
        return loading, time.monotonic() - began

    loading, seconds = asyncio.run(end())
    assert not psutil.pid_exists(loading)
    assert seconds < 4  # it is not waited for
