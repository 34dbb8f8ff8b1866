"""Processes of a service that die: no request fails, no label is lost, and nothing is learned twice."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import httpx
import pytest
from tests.service.running import Running, demo_rows, running

from everlearn import Example, Run


def kill(service: Running, name: str) -> None:
    """Kill a process of a service, as the system does when memory runs out."""
    os.kill(service.processes()[name], signal.SIGKILL)


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def predict_until(url: str, over: Event) -> tuple[int, list[str]]:
    """Ask until told to end; returns how many answers there were, and what failed."""
    texts, count, failed = [row["text"] for row in demo_rows(50, start=900)], 0, list[str]()
    with httpx.Client(base_url=url, timeout=60) as client:
        while not over.is_set():
            answer = client.post("/v1/predict", json={"text": texts[count % len(texts)]})
            count += 1
            if answer.status_code != 200 or answer.json()["predictions"][0]["label"] is None:
                failed.append(answer.text)
    return count, failed


def test_nothing_fails_and_nothing_is_lost(learned: Path, tmp_path: Path) -> None:
    rows = demo_rows(60, start=300)
    place = Path(shutil.copytree(learned, tmp_path / "served" / "desk"))
    over = Event()
    with running(place, workers=2) as service, ThreadPoolExecutor(3) as threads:
        asking = [threads.submit(predict_until, service.url, over) for _ in range(3)]
        for number, row in enumerate(rows):
            if number in (10, 30):
                kill(service, "worker-1")
            if number in (20, 45):
                kill(service, "learner")
            if number in (25, 45):  # what the others are forked from: while they go on, and while one starts
                kill(service, "host")
            assert service.post("/v1/learn", **row)["results"][0]["status"] == "learned"
        over.set()
        for one in asking:
            count, failed = one.result()
            assert count > 20
            assert not failed
        until(lambda: service.get("/v1/service")["workers_ready"] == 2)
        fingerprint = service.get("/v1/fingerprint")["fingerprint"]
        lost = {
            line.split()[0].partition("kind=")[2]: float(line.split()[1])
            for line in service.client.get("/metrics").text.splitlines()
            if line.startswith("everlearn_processes_lost_total")
        }
        assert lost == {'"worker"}': 2, '"learner"}': 2}
        kill(service, "host")
        assert service.stop() == 0
    beside = Path(shutil.copytree(learned, tmp_path / "beside" / "desk"))
    with Run.open(beside) as run:
        for row in rows:  # as there: codes depend in rare bits on what is encoded together
            run.learn([Example(**row)])
        assert run.fingerprint() == fingerprint
    with Run.open(place) as run:
        assert run.fingerprint() == fingerprint


@pytest.fixture(scope="module")
def mortal(learned: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service whose processes tests kill; each uses examples of its own."""
    place = Path(shutil.copytree(learned, tmp_path_factory.mktemp("mortal") / "desk"))
    with running(place) as service:
        yield service


@pytest.mark.parametrize("op", ["forget", "rollback", "correct", "review"])
def test_what_changes_history_is_done_once_though_its_process_dies(op: str, mortal: Running) -> None:
    rows, service = demo_rows(9), mortal
    body = {
        "forget": {"ids": [rows[0]["id"]]},
        "rollback": {"version": 1},
        "correct": {"targets": {rows[1]["id"]: rows[8]["target"]}},
        "review": {"reject": [rows[2]["id"]]},
    }[op]
    before = service.get("/v1/stats")["held"]
    forgotten = service.client.get("/v1/blame", params={"id": rows[0]["id"]}).status_code == 404
    service.post("/v1/learn", id=f"one-more-{op}", text=f"one more to {op}, please", target="one_more")
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(service.client.post, f"/v1/{op}", json=body)
        kill_at = time.monotonic() + 0.02
        time.sleep(max(0.0, kill_at - time.monotonic()))
        kill(service, "learner")
        answer = asked.result()
    if op == "review":  # nothing is flagged, before or after
        assert answer.json()["code"] == "run-refuses"
    else:
        assert answer.status_code == 200, answer.text
    held = {"forget": before, "rollback": 300 - forgotten, "correct": before + 1, "review": before + 1}[op]
    assert service.get("/v1/stats")["held"] == held


def test_a_learner_that_dies_leaves_what_was_answered_to_be_served(mortal: Running) -> None:
    text, service = "the lighthouse keeper wants his lamp invoiced quarterly", mortal
    for number in range(3):
        service.post("/v1/learn", id=f"l{number}", text=f"{text} {number}", target="lamp")
    kill(service, "learner")
    until(lambda: service.get("/v1/service")["learner_ready"])
    until(lambda: service.predict(text)["step"] == service.get("/v1/fingerprint")["step"])
    assert service.predict(text)["label"] == "lamp"


def test_what_is_in_the_folder_then_is_what_the_service_said(mortal: Running) -> None:
    held, fingerprint = mortal.get("/v1/stats")["held"], mortal.get("/v1/fingerprint")["fingerprint"]
    assert mortal.stop() == 0
    with Run.open(mortal.place) as run:
        assert run.held().num_examples == held
        assert run.fingerprint() == fingerprint
