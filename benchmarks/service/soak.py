"""Part ``soak``: mixed load for a while; memory, open files and connections before and after."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.service.learned import run_at, shuffled
from benchmarks.service.started import Started, started

__all__ = ["soak"]

_WARM_SECONDS = 180.0
_EVERY_SECONDS = 15.0


def soak(folder: Path, num_examples: int, minutes: float, workers: int) -> Iterator[dict[str, Any]]:
    """Memory of all processes (PSS) over time under predictions, labels, feedback, corrections and deletions.

    What is learned is forgotten a little later, so what the run holds stays about as large.
    """
    place = run_at(folder, "banking77", num_examples)
    with started(place, "--workers", str(workers)) as service:
        over = threading.Event()
        callers = [threading.Thread(target=_mixed, args=(service, number, over)) for number in range(4)]
        for caller in callers:
            caller.start()
        began, samples = time.monotonic(), list[tuple[float, float, int]]()
        while (now := time.monotonic() - began) < minutes * 60:
            time.sleep(_EVERY_SECONDS)
            samples.append((now, *_taken(service)))
        over.set()
        for caller in callers:
            caller.join()
        time.sleep(3)
        rest = _taken(service)
    warm = [memory for at, memory, _ in samples if at >= _WARM_SECONDS]
    third = max(1, len(warm) // 4)
    first, last = sum(warm[:third]) / third, sum(warm[-third:]) / third
    yield {
        "what": f"{minutes:g} minutes of mixed load",
        "pss_mb": [round(memory) for _, memory, _ in samples],
        "growth_after_3_minutes": round(last / first - 1, 4),
        "open_files": [files for _, _, files in samples][:: max(1, len(samples) // 8)],
        "open_files_at_rest": rest[1],
    }


def _mixed(service: Started, number: int, over: threading.Event) -> None:
    chance, texts = random.Random(number), [row.text for row in shuffled("banking77", "test")]
    mine: list[str] = []
    with httpx.Client(base_url=service.url, timeout=60) as client:
        while not over.is_set():
            said = client.post("/v1/predict", json={"text": chance.choice(texts)}).json()["predictions"][0]
            dice = chance.random()
            if dice < 0.03:
                client.post(
                    "/v1/feedback", json={"id": said["id"], "target": said["label"]}
                ).raise_for_status()
                mine.append(said["id"])
            elif dice < 0.05 and mine:
                client.post("/v1/forget", json={"ids": [mine.pop(0)]}).raise_for_status()
            elif dice < 0.06:
                client.get("/v1/review").raise_for_status()
            elif dice < 0.07:
                client.get("/v1/versions").raise_for_status()


def _taken(service: Started) -> tuple[float, int]:
    """PSS of all processes in 10⁶ bytes, and their open files and connections."""
    processes = [psutil.Process(pid) for pid in service.processes().values()]
    memory = sum(process.memory_full_info().pss for process in processes) / 1e6
    return memory, sum(process.num_fds() for process in processes)
