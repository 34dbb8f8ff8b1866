"""Part ``starting``: workers forked from a process that has loaded the libraries, or each by itself."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks.service.learned import run_at
from everlearn import Run
from everlearn.service.child import Child
from everlearn.service.process_host import Forked, ProcessHost

__all__ = ["starting"]

_PROCESSES = (2, 8)
_TEXTS = [f"where is the card of account {number} that I ordered?" for number in range(16)]


class _EachByItself(ProcessHost):
    """Starts each process as one that loads everything by itself."""

    async def start(self, name: str, arguments: Sequence[str]) -> Forked:
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "benchmarks.service.starting", *arguments, stdin=theirs.fileno()
            )
        ended = asyncio.ensure_future(process.wait())
        return Forked(process.pid, *await asyncio.open_connection(sock=ours), ended)  # type: ignore[arg-type]


def starting(folder: Path, num_examples: int) -> Iterator[dict[str, Any]]:
    """Seconds until all processes have answered, when they start and after all were killed, and memory."""
    place = run_at(folder, "banking77", num_examples)
    with Run.open(place) as run:
        run.publish()
    for count in _PROCESSES:
        for _ in range(2):
            for how, host in (("forked", ProcessHost()), ("each by itself", _EachByItself())):
                yield {"what": how, "processes": count, **asyncio.run(_measured(host, place, count))}


async def _measured(host: ProcessHost, place: Path, count: int) -> dict[str, Any]:
    children = [Child(host, "worker", [str(place)]) for _ in range(count)]
    started = await _seconds_to_answers(children, place)
    pids = [pid for pid in (host.pid, *(child.pid for child in children)) if pid is not None]
    pss = sum(psutil.Process(pid).memory_full_info().pss for pid in pids)
    for child in children:
        child.kill()
    await asyncio.gather(*(child.end(10) for child in children))
    again = await _seconds_to_answers(children, place)
    await asyncio.gather(*(child.end(10) for child in children))
    await host.close()
    return {
        "seconds_to_start": round(started, 2),
        "seconds_after_kills": round(again, 2),
        "pss_mb": round(pss / 1e6),
    }


async def _seconds_to_answers(children: Sequence[Child], place: Path) -> float:
    async def answered(child: Child) -> None:
        await child.start()
        await child.send({"op": "answer", "asked": [[place.name, text, 3] for text in _TEXTS]})
        told = await child.receive()
        assert all("label" in one for one in told["said"])

    began = time.perf_counter()
    await asyncio.gather(*(answered(child) for child in children))
    return time.perf_counter() - began


def _be_a_worker() -> None:
    from everlearn.process_memory import collect_seldom, give_large_blocks_back

    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", RAYON_NUM_THREADS="1")
    collect_seldom()
    give_large_blocks_back()
    from everlearn.runtime.serving import worker

    with (
        socket.socket(fileno=os.dup(0)) as one,
        one.makefile("rb") as messages,
        one.makefile("wb") as answers,
    ):
        worker.run(sys.argv[1:], messages, answers)


if __name__ == "__main__":
    _be_a_worker()
