"""Callers that ask for this and that until they are told to stop: what a service is asked in a day."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from benchmarks.service.learned import shuffled
from benchmarks.service.started import Started

__all__ = ["mixed_load"]

_CALLERS = 4
_DRAWN = (
    ("/v1/feedback", 0.03),
    ("/v1/correct", 0.02),
    ("/v1/forget", 0.02),
    ("/v1/explain", 0.01),
    ("/v1/review", 0.01),
    ("/v1/versions", 0.01),
)
"""What follows a prediction, and in which share of cases."""
_KEPT = 4
"""Examples of its own that a caller leaves, so that it can correct one."""


@contextmanager
def mixed_load(service: Started) -> Iterator[Counter[str]]:
    """Callers and one who listens to events and comes and goes, for as long as the block lasts.

    What is learned is forgotten a little later, so what the run holds stays about as large.

    Yields:
        How often each path was asked, and how often it has failed (by the path and "failed").
    """
    told, over = Counter[str](), threading.Event()
    threads = [
        threading.Thread(target=_ask, args=(service, number, over, told)) for number in range(_CALLERS)
    ]
    threads.append(threading.Thread(target=_listen, args=(service, over, told)))
    for thread in threads:
        thread.start()
    try:
        yield told
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _ask(service: Started, number: int, over: threading.Event, told: Counter[str]) -> None:
    chance, rows = random.Random(number), shuffled("banking77", "test")
    labels = sorted({row.label for row in rows})
    names, shares = [name for name, _ in _DRAWN], [share for _, share in _DRAWN]
    mine: list[str] = []
    with httpx.Client(base_url=service.url, timeout=300) as client:

        def done(path: str, body: dict[str, Any] | None = None) -> Any:
            told[path] += 1
            answer = client.get(path) if body is None else client.post(path, json=body)
            if answer.is_success:
                return answer.json()
            told[f"{path} failed"] += 1
            return None

        while not over.is_set():
            text = chance.choice(rows).text
            predicted = done("/v1/predict", {"text": text})
            (then,) = chance.choices([*names, None], [*shares, 1 - sum(shares)])
            if then is None or predicted is None:
                continue
            if then == "/v1/feedback":
                said = predicted["predictions"][0]
                if done(then, {"id": said["id"], "target": said["label"]}) is not None:
                    mine.append(said["id"])
            elif then == "/v1/correct" and mine:
                done(then, {"targets": {chance.choice(mine): chance.choice(labels)}})
            elif then == "/v1/forget" and len(mine) > _KEPT:
                done(then, {"ids": [mine.pop(0)]})
            elif then == "/v1/explain":
                done(then, {"text": text})
            elif then in ("/v1/review", "/v1/versions"):
                done(then)
        if mine:
            done("/v1/forget", {"ids": mine})


def _listen(service: Started, over: threading.Event, told: Counter[str]) -> None:
    """Read events for a moment, hang up in the middle, and come again."""
    chance = random.Random(0)
    while not over.is_set():
        ends = time.monotonic() + chance.uniform(0.5, 4.0)
        told["/v1/events"] += 1
        try:
            with httpx.stream("GET", f"{service.url}/v1/events", timeout=httpx.Timeout(60, read=2)) as events:
                events.raise_for_status()
                for line in events.iter_lines():
                    told["events read"] += line.startswith("data:")
                    if time.monotonic() > ends or over.is_set():
                        break
        except httpx.ReadTimeout:  # nothing has happened for a while
            continue
        except httpx.HTTPError:
            told["/v1/events failed"] += 1
        over.wait(chance.uniform(0.1, 1.0))
