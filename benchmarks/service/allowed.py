"""What prediction processes allow without HTTP: asked directly, and their encoder's forward passes alone."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from itertools import cycle, islice
from pathlib import Path

from everlearn.runtime.run import Run
from everlearn.service.process_host import ProcessHost
from everlearn.service.workers import Workers

__all__ = ["encoder_alone", "workers_alone"]


def workers_alone(place: Path, texts: list[str], *, workers: int, callers: int, seconds: float) -> float:
    """Texts a second that the processes of a service answer where nobody speaks HTTP.

    Args:
        place: A run.
        texts: Asked again and again.
        workers: Processes.
        callers: Texts that are asked at once.
        seconds: How long.
    """
    with Run.open(place) as run:
        run.publish()
        return asyncio.run(_ask(place, texts, workers, callers, seconds))


async def _ask(place: Path, texts: list[str], num_workers: int, callers: int, seconds: float) -> float:
    host = ProcessHost()
    workers = Workers(host, place, num_workers, budget_mb=None, max_batch=32, max_waiting=10_000)
    await workers.start([place.name])
    endless, count, over = cycle(texts), 0, False

    async def caller() -> None:
        nonlocal count
        while not over:
            (answer,) = workers.ask(place.name, [next(endless)], 3)
            await answer
            count += 1

    tasks = [asyncio.create_task(caller()) for _ in range(callers)]
    await asyncio.sleep(2)  # kernels are made for each shape that is new
    before, started = count, time.perf_counter()
    await asyncio.sleep(seconds)
    per_second = (count - before) / (time.perf_counter() - started)
    over = True
    await asyncio.gather(*tasks)
    await workers.close()
    await host.close()
    return per_second


def encoder_alone(texts: list[str], *, workers: int, batch: int, seconds: float) -> float:
    """Texts a second that so many processes of one thread encode side by side, and do nothing else."""
    command = [sys.executable, "-m", "benchmarks.service.allowed", str(batch), str(seconds)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(workers)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(json.dumps(texts))
        process.stdin.close()
    return sum(float(process.stdout.read()) for process in processes if process.stdout is not None)


def _encode(texts: list[str], batch: int, seconds: float) -> float:
    import torch

    from everlearn.models.encoder.adapter_pool import AdapterPool
    from everlearn.settings import RunConfig
    from everlearn.sharing.trunk_store import TrunkStore
    from everlearn.tasks.classification.recorded_coder import load_text_coder

    torch.set_num_threads(1)
    coder = load_text_coder(RunConfig().model, AdapterPool(TrunkStore().trunk))
    endless, count = cycle(texts), 0
    for _ in range(20):
        coder.encode(list(islice(endless, batch)))
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        coder.encode(list(islice(endless, batch)))
        count += batch
    return count / (time.perf_counter() - started)


if __name__ == "__main__":
    print(_encode(json.loads(sys.stdin.read()), int(sys.argv[1]), float(sys.argv[2])))
