"""A service, or a rival of it, in a process of its own, for as long as a block lasts."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

__all__ = ["Started", "free_port", "listening", "started", "wrk_path"]

_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Started:
    """A process that answers HTTP.

    Attributes:
        url: Its address.
        client: Asks it.
        process: The process.
    """

    url: str
    client: httpx.Client
    process: subprocess.Popen[bytes]

    def post(self, path: str, **body: Any) -> Any:
        """Its answer; an error of HTTP ends the benchmark."""
        return self.client.post(path, json=body).raise_for_status().json()

    def get(self, path: str, **query: Any) -> Any:
        """The same."""
        return self.client.get(path, params=query).raise_for_status().json()

    def processes(self) -> dict[str, int]:
        """A service's processes, by what they do."""
        return dict(self.get("/v1/service")["processes"])


@contextmanager
def started(place: Path, *options: str, **variables: str) -> Iterator[Started]:
    """``everlearn serve`` on a free port, with variables of its environment."""
    port = free_port()
    command = [sys.executable, "-m", "everlearn", "serve", str(place), "--port", str(port), *options]
    with listening(command, port, "/readyz", **variables) as service:
        yield service


@contextmanager
def listening(command: Sequence[str], port: int, path: str, **variables: str) -> Iterator[Started]:
    """Any program, from when it answers 200 on a path."""
    process = subprocess.Popen(
        command, env={**os.environ, **variables}, stdout=subprocess.DEVNULL, start_new_session=True
    )
    url = f"http://127.0.0.1:{port}"
    try:
        with httpx.Client(base_url=url, timeout=120) as client:
            deadline = time.monotonic() + _SECONDS
            while not _answers(client, path):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"{' '.join(command)} does not answer")
                time.sleep(0.1)
            yield Started(url, client, process)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def wrk_path() -> str:
    """Where wrk is; ends the benchmark where it is not installed."""
    found = shutil.which("wrk")
    if found is None:
        raise SystemExit("wrk is not installed; apt-get install wrk")
    return found


def _answers(client: httpx.Client, path: str) -> bool:
    try:
        return client.get(path).status_code == 200
    except httpx.TransportError:
        return False
