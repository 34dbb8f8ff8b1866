"""A service as a user runs it: ``everlearn serve`` in a process of its own, asked over HTTP."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import httpx

from everlearn.demo_data import support_desk_stream

__all__ = ["Running", "demo_rows", "running"]

_SECONDS_TO_START = 60.0
_SECONDS_TO_STOP = 60.0
_URL = re.compile(r"(http://\S+:\d+)")


def demo_rows(count: int, start: int = 0) -> list[dict[str, Any]]:
    """Messages of the demo's stream, as examples to learn."""
    with support_desk_stream().open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [
        {"id": row["id"], "text": row["text"], "target": row["label"]} for row in rows[start : start + count]
    ]


class Running:
    """A service, and a client of it.

    Attributes:
        url: Its address.
        place: What it serves.
        process: Its process.
        client: Asks it.
    """

    def __init__(self, url: str, place: Path, process: subprocess.Popen[str], log: Path) -> None:
        self.url = url
        self.place = place
        self.process = process
        self._log = log
        self.client = httpx.Client(base_url=url, timeout=60)

    def get(self, path: str, **query: Any) -> Any:
        """What it answers, as JSON; an error of HTTP fails the test."""
        return self._json(self.client.get(path, params=query))

    def post(self, path: str, **body: Any) -> Any:
        """The same, to what is sent."""
        return self._json(self.client.post(path, json=body))

    def predict(self, text: str, **more: Any) -> dict[str, Any]:
        """What it says of one text, with what every answer bears."""
        told: dict[str, Any] = self.post("/v1/predict", text=text, **more)
        first: dict[str, Any] = told["predictions"][0]
        return told | first

    def processes(self) -> dict[str, int]:
        """Its processes, by what they do."""
        found: dict[str, int] = self.get("/v1/service")["processes"]
        return found

    def log(self) -> str:
        """What it has written."""
        return self._log.read_text(encoding="utf-8")

    def stop(self) -> int:
        """Stop it as a person does; returns its exit code."""
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(_SECONDS_TO_STOP)

    def _json(self, answer: httpx.Response) -> Any:
        assert answer.is_success, f"{answer.status_code}: {answer.text}\n{self.log()}"
        return answer.json()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.stop()


@contextmanager
def running(
    place: Path, *options: str, environment: Mapping[str, str] | None = None, workers: int = 1
) -> Iterator[Running]:
    """A service on a free port, ready; stopped at the end.

    Args:
        place: A run or a hub.
        *options: Of ``everlearn serve``.
        environment: Beside that of the tests.
        workers: Prediction processes.
    """
    log = place.parent / f"{place.name}.log"
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "everlearn",
                "serve",
                str(place),
                "--workers",
                str(workers),
                *(() if "--port" in options else ("--port", "0")),
                *options,
            ],
            stdout=file,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **(environment or {})},
        )
    try:
        with Running(_url(process, log), place, process, log) as service:
            yield service
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _url(process: subprocess.Popen[str], log: Path) -> str:
    deadline = time.monotonic() + _SECONDS_TO_START
    while time.monotonic() < deadline:
        found = _URL.search(log.read_text(encoding="utf-8"))
        if found is not None:
            return found[1]
        assert process.poll() is None, log.read_text(encoding="utf-8")
        time.sleep(0.05)
    raise AssertionError(f"not ready after {_SECONDS_TO_START:g} s: {log.read_text(encoding='utf-8')}")
