"""Prediction processes of a hub: one and two, beside the hub's own process with as many threads.

Requests of 32 short texts for tenants drawn at random, as many at a time as there are processes, in turns;
the figure is texts a second, the median over rounds. The rival is what a program does that has two cores:
one process whose products are divided between two threads.
"""

from __future__ import annotations

import random
import statistics
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import torch

from benchmarks.datasets import load_rows
from benchmarks.sharing.memory import pss_mb
from benchmarks.sharing.tenants import make_hub
from everlearn import Hub
from everlearn.runtime.hub.pool import PredictionPool

__all__ = ["figures"]

TENANTS, TEXTS, REQUESTS = 20, 32, 24


def figures(options: Namespace) -> Iterator[dict[str, Any]]:
    """One line for each way."""
    path = make_hub(TENANTS, options.data)
    draw = random.Random(3)
    queries = [row.text for row in load_rows("clinc150", "test", options.data)]
    requests = [
        [(f"t{draw.randrange(TENANTS):05d}", draw.choice(queries)) for _ in range(TEXTS)]
        for _ in range(REQUESTS)
    ]
    with ExitStack() as opened:
        hub = opened.enter_context(Hub.open(path))
        pools = {num: PredictionPool(path, num) for num in (1, 2)}
        for pool in pools.values():
            opened.callback(pool.close)

        def here(threads: int) -> Callable[[], None]:
            def run() -> None:
                torch.set_num_threads(threads)
                for request in requests:
                    hub.predict(request)

            return run

        ways: dict[str, Callable[[], None]] = {
            "1 process": lambda: _ask_at_once(pools[1], requests, 1),
            "2 processes": lambda: _ask_at_once(pools[2], requests, 2),
            "the hub's own, 1 thread": here(1),
            "the hub's own, 2 threads": here(2),
        }
        for way in ways.values():
            way()
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(options.rounds):
            for name, way in ways.items():
                started = time.perf_counter()
                way()
                seconds[name].append(time.perf_counter() - started)
        weights = [pss_mb(pid) for pid in pools[2].process_ids()]
    for name, own in seconds.items():
        yield {
            "way": name,
            "texts_per_second": round(TEXTS * REQUESTS / statistics.median(own), 1),
            "to_1_process": round(statistics.median(seconds["1 process"]) / statistics.median(own), 3),
        }
    yield {"mapped_weights_mb_of_each": [round(one[0], 1) for one in weights]}


def _ask_at_once(pool: PredictionPool, requests: Sequence[list[tuple[str, str]]], num: int) -> None:
    with ThreadPoolExecutor(num) as threads:
        list(threads.map(pool.predict, requests))
