"""Part ``learning``: what predictions wait for where labels stream in, and how soon a correction counts."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from benchmarks.datasets import Row
from benchmarks.service.learned import run_at, shuffled
from benchmarks.service.started import Started, started
from benchmarks.service.wrk import load, write_bodies

__all__ = ["corrections", "learning_beside"]

_CORRECTIONS = 100


def learning_beside(
    folder: Path, num_examples: int, seconds: float, workers: int, a_second: int
) -> Iterator[dict[str, Any]]:
    """Times to an answer with and without labels that stream in, in turn; and the rate that was kept."""
    place = run_at(folder, "clinc150", num_examples)
    texts = [row.text for row in shuffled("clinc150", "test")]
    bodies = write_bodies(folder / "texts.jsonl", [{"text": text} for text in texts])
    rows = shuffled("clinc150")[num_examples:]
    with started(place, "--workers", str(workers)) as service:
        load(service.url, "/v1/predict", bodies, callers=8, seconds=seconds)
        for callers in (1, 8):
            for _ in range(2):
                without = load(service.url, "/v1/predict", bodies, callers=callers, seconds=seconds)
                with _streaming(service, rows, a_second) as learned:
                    beside = load(service.url, "/v1/predict", bodies, callers=callers, seconds=seconds)
                yield {
                    "what": f"learning {a_second} examples a second beside",
                    "callers": callers,
                    "without": without.to_json(),
                    "beside": beside.to_json(),
                    "p99_ratio": round(beside.p99_ms / without.p99_ms, 2),
                    "learned_per_second": round(learned["count"] / learned["seconds"], 1),
                    "label_p50_ms": round(1e3 * median(learned["times"]), 1),
                    "label_max_ms": round(1e3 * max(learned["times"]), 1),
                }


def corrections(folder: Path, num_examples: int, workers: int) -> Iterator[dict[str, Any]]:
    """How long a correction takes to be answered, and whether the next prediction has it."""
    place = run_at(folder, "clinc150", num_examples)
    rows = shuffled("clinc150")[:num_examples]
    labels = sorted({row.label for row in rows})
    times, fresh = [], 0
    with started(place, "--workers", str(workers)) as service:
        began = time.perf_counter()
        service.post("/v1/learn", text="a first label, right after the start", target=labels[0])
        first = time.perf_counter() - began
        for number in range(_CORRECTIONS):
            row = rows[number]
            other = labels[(labels.index(row.label) + 1) % len(labels)]
            began = time.perf_counter()
            told = service.post("/v1/correct", targets={row.id: other})
            times.append(time.perf_counter() - began)
            fresh += service.post("/v1/predict", text=row.text)["step"] >= told["step"]
            time.sleep(0.05)
    times.sort()
    yield {
        "what": "corrections, one after the other",
        "examples": num_examples,
        "p50_ms": round(1e3 * median(times), 1),
        "p95_ms": round(1e3 * times[int(0.95 * len(times))], 1),
        "max_ms": round(1e3 * times[-1], 1),
        "first_label_ms": round(1e3 * first, 1),
        "next_prediction_has_it": f"{fresh} of {_CORRECTIONS}",
        "ms": [round(1e3 * one, 1) for one in times],
    }


@contextmanager
def _streaming(service: Started, rows: list[Row], a_second: int) -> Iterator[dict[str, Any]]:
    """Learn rows, each once, at a steady rate, by several callers; what they do not keep up with is late."""
    told: dict[str, Any] = {"count": 0, "times": [], "seconds": 0.0}
    over, lock, began = threading.Event(), threading.Lock(), time.perf_counter()

    def send() -> None:
        with httpx.Client(base_url=service.url, timeout=60) as client:
            while not over.is_set():
                with lock:
                    number = told["count"]
                    told["count"] += 1
                    row = rows.pop()
                time.sleep(max(0.0, began + number / a_second - time.perf_counter()))
                sent = time.perf_counter()
                client.post("/v1/learn", json={"text": row.text, "target": row.label}).raise_for_status()
                told["times"].append(time.perf_counter() - sent)

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    try:
        yield told
    finally:
        over.set()
        for thread in threads:
            thread.join()
        told["seconds"] = time.perf_counter() - began
