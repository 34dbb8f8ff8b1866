"""Publishing many versions while readers predict by them, and readers that are killed at random.

A version's head is filled with what its number leaves, so that a reader knows from every product whether it
had all of one version, and each version is checked against its SHA-256 when it is mapped. A wait is the time
that asking for the current version takes; one during which the system gave the core to another process says
nothing of publishing, and is counted by itself. What readers count outlives them.
"""

from __future__ import annotations

import multiprocessing
import random
import resource
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.command_line import scratch_folder
from everlearn.sharing.publication import Publication, Publisher

__all__ = ["figures"]

READERS = 4
FEATURES, LABELS = 5120, 20
MOST = 3000  # times the features float32 adds it without rounding
LONG = 0.010
KILLS_A_PUBLISH = 0.002
_COUNTED = ("predictions", "versions", "torn", "waits_over_10_ms", "interrupted_over_10_ms", "longest")


def figures(options: Namespace) -> Iterator[dict[str, Any]]:
    """One line: versions, predictions, what went wrong."""
    folder = scratch_folder()
    publisher = Publisher(folder)
    publisher.publish("head", _head(0), {})
    context = multiprocessing.get_context("spawn")
    errors, stop = context.Queue(), context.Event()
    counts = [context.Array("d", len(_COUNTED)) for _ in range(READERS)]
    generator = random.Random(0)

    def start(place: int) -> Any:
        process = context.Process(target=_read, args=(folder, stop, counts[place], errors))
        process.start()
        return process

    readers = [start(place) for place in range(READERS)]
    while not all(one[0] for one in counts):  # until all have loaded their libraries
        time.sleep(0.1)
    num_killed, began, taken = 0, time.perf_counter(), []
    for number in range(1, options.publishes + 1):
        started = time.perf_counter()
        publisher.publish("head", _head(number), {})
        taken.append(time.perf_counter() - started)
        if generator.random() < KILLS_A_PUBLISH:
            place = generator.randrange(READERS)
            readers[place].kill()
            readers[place].join()
            num_killed += 1
            readers[place] = start(place)
    seconds = time.perf_counter() - began
    stop.set()
    for process in readers:
        process.join()
    found = {name: [one[k] for one in counts] for k, name in enumerate(_COUNTED)}
    yield {
        "publishes": options.publishes,
        "publishes_a_second": round(options.publishes / seconds),
        "publish_ms_median": round(1000 * sorted(taken)[len(taken) // 2], 2),
        "readers": READERS,
        "killed": num_killed,
        **{name: round(sum(found[name])) for name in _COUNTED[:-1]},
        "longest_wait_ms": round(max(found["longest"]) * 1000, 2),
        "errors": errors.qsize(),
        "blobs_left": len(list((folder / "blobs").iterdir())),
    }


def _head(number: int) -> dict[str, torch.Tensor]:
    return {"weights": torch.full((FEATURES, LABELS), float(number % MOST)), "number": torch.tensor(number)}


def _read(folder: Path, stop: Any, counted: Any, errors: Any) -> None:
    torch.set_num_threads(1)
    reader, features = Publication(folder, "head"), torch.ones(1, FEATURES)
    counts = counted.get_obj()  # nobody else writes, and whoever is killed holds no lock
    place = {name: k for k, name in enumerate(_COUNTED)}
    last = -1
    try:
        while not stop.is_set():
            switches = _switches()
            started = time.perf_counter()
            version = reader.now()
            waited = time.perf_counter() - started
            if _switches() != switches:
                counts[place["interrupted_over_10_ms"]] += waited > LONG
            else:
                counts[place["waits_over_10_ms"]] += waited > LONG
                counts[place["longest"]] = max(counts[place["longest"]], waited)
            assert version is not None
            number = int(version.tensors["number"])
            scores = features @ version.tensors["weights"]
            is_whole = bool((scores == float(number % MOST) * FEATURES).all()) and number >= last
            counts[place["torn"]] += not is_whole
            counts[place["versions"]] += number != last
            counts[place["predictions"]] += 1
            last = number
    except Exception as error:  # told, and counted as an error
        errors.put(f"{type(error).__name__}: {error}")
        raise


def _switches() -> int:
    """How often the system took the core away."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
