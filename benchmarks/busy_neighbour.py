"""How much of its speed a run keeps while another process has every core as well.

Run: ``python -m benchmarks.busy_neighbour [--data DIR] [--set NAME] [--first N] [--rounds N] [--spinning]``

``everlearn learn`` over the first N training texts of a set, alone and beside one process a core that only
counts, in turns. Fair shares of the cores are one half each. ``--spinning`` also measures threads that spin
while they wait, which OpenMP does by default (``GOMP_SPINCOUNT=300000``). The ratio is that of each pair;
its median counts.

Where the machine has still other work, a run gets less than half beside the neighbours. So the processor time
that it got, in cores, is told as well: speed falls in proportion where ``ratio`` is not below
``ratio_of_cores``.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.command_line import run_json, scratch_folder
from benchmarks.datasets import load_rows
from benchmarks.environment import environment_line
from everlearn.processors import usable_processors

__all__ = ["main"]

_WAYS: dict[str, dict[str, str]] = {"passive": {}, "spinning": {"GOMP_SPINCOUNT": "300000"}}


def _count() -> None:
    number = 0
    while True:
        number += 1


@contextmanager
def neighbours(number: int) -> Iterator[None]:
    """Processes that each keep a core busy."""
    processes = [multiprocessing.Process(target=_count, daemon=True) for _ in range(number)]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
            process.join()


class Speed(NamedTuple):
    """Texts a second of encoding, predicting and learning, and the cores that the whole process got."""

    texts: float
    cores: float


def speed(texts: Path, environment: Mapping[str, str]) -> Speed:
    """Of one run in a process of its own."""
    arguments: list[str | Path] = ["learn", texts, "--out", scratch_folder() / "run"]
    clock, used = time.perf_counter(), _seconds_of_children()
    result = run_json(arguments, environment=environment)
    cores = (_seconds_of_children() - used) / (time.perf_counter() - clock)
    return Speed(float(result["examples_per_second"]), cores)


def _seconds_of_children() -> float:
    """Processor seconds of the processes that have ended, so without the neighbours that still run."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Run all in turns and print a line of JSON for each way of waiting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", help="folder of data sets (default: $EVERLEARN_DATA or ../shared/data)")
    parser.add_argument("--set", default="clinc150")
    parser.add_argument("--first", type=int, default=1_500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--spinning", action="store_true")
    options = parser.parse_args()
    cores = usable_processors()
    print(environment_line(), flush=True)
    texts = scratch_folder() / "texts.jsonl"
    rows = load_rows(options.set, "train", options.data)[: options.first]
    texts.write_text("".join(json.dumps(row._asdict()) + "\n" for row in rows), encoding="utf-8")
    ways = list(_WAYS) if options.spinning else ["passive"]
    pairs: dict[str, list[tuple[Speed, Speed]]] = {way: [] for way in ways}
    for _ in range(options.rounds):
        for way in ways:
            alone = speed(texts, _WAYS[way])
            with neighbours(cores):
                beside = speed(texts, _WAYS[way])
            pairs[way].append((alone, beside))
            print(f"{way}: alone {alone.texts:.0f} texts/s, beside {beside.texts:.0f}", flush=True)
    for way, measured in pairs.items():
        figures = {
            "waiting": way,
            "cores": cores,
            "texts": len(rows),
            "alone": round(statistics.median(alone.texts for alone, _ in measured), 1),
            "beside": round(statistics.median(beside.texts for _, beside in measured), 1),
            "ratio": round(statistics.median(beside.texts / alone.texts for alone, beside in measured), 3),
            "cores_alone": round(statistics.median(alone.cores for alone, _ in measured), 2),
            "cores_beside": round(statistics.median(beside.cores for _, beside in measured), 2),
            "ratio_of_cores": round(
                statistics.median(beside.cores / alone.cores for alone, beside in measured), 3
            ),
        }
        print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
