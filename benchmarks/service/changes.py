"""Part ``changes``: publishes, rollbacks and kills under load, after which nothing may be missing."""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from benchmarks.service.learned import run_at, shuffled
from benchmarks.service.started import Started, started
from benchmarks.service.wrk import load, write_bodies
from everlearn import Example, Run

__all__ = ["changes"]

_PUBLISHES, _ROLLBACKS, _WORKER_KILLS, _LEARNER_KILLS = 200, 20, 20, 5


def changes(folder: Path, num_examples: int, num_requests: int, workers: int) -> Iterator[dict[str, Any]]:
    """Failed requests among so many, and whether journal and fingerprint are what they should be.

    Labels come one after the other, so each is encoded alone, as the command line is given it here.
    """
    place = run_at(folder, "banking77", num_examples)
    shutil.rmtree(folder / "beside", ignore_errors=True)
    beside = Path(shutil.copytree(place, folder / "beside" / "desk"))
    rows = shuffled("banking77")[num_examples : num_examples + _PUBLISHES]
    bodies = write_bodies(
        folder / "texts.jsonl", [{"text": row.text} for row in shuffled("banking77", "test")]
    )
    learned: list[dict[str, str]] = []
    with started(place, "--workers", str(workers)) as service:
        over, failed, killed = threading.Event(), list[str](), Counter[str]()
        acting = threading.Thread(target=_act, args=(service, rows, learned, failed, killed, over))
        acting.start()
        count = errors = 0
        course, began = list[dict[str, Any]](), time.perf_counter()
        while count < num_requests or acting.is_alive():
            found = load(service.url, "/v1/predict", bodies, callers=16, seconds=10, start=count % 1_000)
            count, errors = count + found.requests, errors + found.errors
            at = round(time.perf_counter() - began, 1)
            told = {"seconds": at, "p50_ms": found.p50_ms, "p99_ms": found.p99_ms, "failed": found.errors}
            course.append(told)
        acting.join()
        fingerprint = service.get("/v1/fingerprint")["fingerprint"]
        lost = [
            line
            for line in service.client.get("/metrics").text.splitlines()
            if line.startswith("everlearn_processes_lost_total")
        ]
    with Run.open(beside) as run:
        for one in learned:
            run.learn([Example(id=one["id"], text=one["text"], target=one["target"])])
        expected = run.fingerprint()
        ids = set(run.known([one["id"] for one in learned]))
    with Run.open(place) as run:
        known = set(run.known([one["id"] for one in learned]))
        after = run.fingerprint()
    yield {
        "what": f"{_PUBLISHES} labels, {_ROLLBACKS} rollbacks, kills under load of 16 callers",
        "requests": count,
        "failed_predictions": errors,
        "failed_changes": failed,
        "killed": dict(killed),
        "processes_lost": lost,
        "labels_answered": len(learned),
        "labels_in_journal": len(known & ids),
        "fingerprint_as_by_run": fingerprint == expected == after,
        "course": course,
    }


def _act(
    service: Started,
    rows: list[Any],
    learned: list[dict[str, str]],
    failed: list[str],
    killed: Counter[str],
    over: threading.Event,
) -> None:
    """Everything but predictions, in an order of chance that is the same each time."""
    chance = random.Random(0)
    acts = ["learn"] * _PUBLISHES + ["rollback"] * _ROLLBACKS
    acts += ["kill worker"] * _WORKER_KILLS + ["kill learner"] * _LEARNER_KILLS
    chance.shuffle(acts)
    left = iter(rows)
    with httpx.Client(base_url=service.url, timeout=120) as client:
        for act in acts:
            time.sleep(0.8)
            if act == "learn":
                row = next(left)
                body = {"id": f"new-{row.id}", "text": row.text, "target": row.label}
                if _done(client, failed, "/v1/learn", body):
                    learned.append(body)
            elif act == "rollback":  # serving goes back, and comes again
                _done(client, failed, "/v1/rollback", {"version": 1, "keep_learned": True})
                _done(client, failed, "/v1/rollback", {})
            else:
                kind = act.removeprefix("kill ")
                while not (running := _running(client, kind)):  # it has just been killed
                    time.sleep(0.2)
                os.kill(chance.choice(running), signal.SIGKILL)
                killed[kind] += 1
    over.set()


def _running(client: httpx.Client, kind: str) -> list[int]:
    """Processes of a kind."""
    processes = client.get("/v1/service").json()["processes"]
    return [pid for name, pid in processes.items() if name.startswith(kind)]


def _done(client: httpx.Client, failed: list[str], path: str, body: dict[str, Any]) -> bool:
    answer = client.post(path, json=body)
    if not answer.is_success:
        failed.append(f"{path}: {answer.text[:200]}")
    return answer.is_success
