"""Part ``soak``: mixed load for a while; memory, open files and connections before, meanwhile and after."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.service.learned import run_at
from benchmarks.service.mixed_load import mixed_load
from benchmarks.service.started import Started, started

__all__ = ["Taken", "soak", "taken"]

_WARM_SECONDS = 180.0
_EVERY_SECONDS = 15.0
_SECONDS_OF_ALL_KINDS = 10.0
_SECONDS_TO_REST = 8.0
"""Connections that are kept alive are hung up on after 5."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What all processes of a service have at a time.

    Attributes:
        pss_mb: Memory in 10⁶ bytes; what is shared counts once.
        pss_mb_by_process: The same by what a process does.
        open_files: Open files, pipes, connections and all else that a process has open.
        connections: Those of HTTP that are established.
    """

    pss_mb: float
    pss_mb_by_process: dict[str, float]
    open_files: int
    connections: int


def soak(folder: Path, num_examples: int, minutes: float, workers: int) -> Iterator[dict[str, Any]]:
    """Memory of all processes (PSS) over time under predictions, labels, feedback, corrections and deletions.

    What is open at rest is counted after a first moment of the same load, and again at the end: databases are
    opened when they are first asked, and stay open.
    """
    place = run_at(folder, "banking77", num_examples)
    with started(place, "--workers", str(workers)) as service:
        new = taken(service)
        with mixed_load(service):
            time.sleep(_SECONDS_OF_ALL_KINDS)
        time.sleep(_SECONDS_TO_REST)
        before = taken(service)
        began, samples = time.monotonic(), list[tuple[float, Taken]]()
        every = min(_EVERY_SECONDS, minutes * 60 / 4)
        with mixed_load(service) as asked:
            while (now := time.monotonic() - began) < minutes * 60:
                time.sleep(every)
                samples.append((now + every, taken(service)))
        time.sleep(_SECONDS_TO_REST)
        rest = taken(service)
    yield {
        "what": f"{minutes:g} minutes of mixed load",
        "asked": dict(asked),
        "minutes": [round(at / 60, 2) for at, _ in samples],
        "pss_mb": [round(one.pss_mb) for _, one in samples],
        "growth_after_3_minutes": _growth([one.pss_mb for at, one in samples if at >= _WARM_SECONDS]),
        "open_files": [one.open_files for _, one in samples],
        "open_files_when_started": new.open_files,
        "open_files_before": before.open_files,
        "open_files_at_rest": rest.open_files,
        "connections": [one.connections for _, one in samples],
        "connections_before": before.connections,
        "connections_at_rest": rest.connections,
    }


def taken(service: Started) -> Taken:
    """What it has now; the connection that asks for it is not counted."""
    processes = {name: psutil.Process(pid) for name, pid in service.processes().items()}
    connections = [one for process in processes.values() for one in process.net_connections("tcp")]
    memory = {name: process.memory_full_info().pss / 1e6 for name, process in processes.items()}
    return Taken(
        sum(memory.values()),
        {name: round(one, 1) for name, one in memory.items()},
        sum(process.num_fds() for process in processes.values()) - 1,
        sum(one.status == psutil.CONN_ESTABLISHED for one in connections) - 1,
    )


def _growth(memory: Sequence[float]) -> float | None:
    """From the mean of the first quarter to that of the last; None: it was too short."""
    if not memory:
        return None
    quarter = max(1, len(memory) // 4)
    return round(sum(memory[-quarter:]) / sum(memory[:quarter]) - 1, 4)
