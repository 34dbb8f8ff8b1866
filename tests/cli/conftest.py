"""Small streams on disk, and ways to run the program: in this process, and as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from everlearn.cli.app import app
from everlearn.stream.files.codes import CodesWriter
from everlearn.types import Code, Example

DENSE_SIZE = 24
SMALL = ["--features", "64", "--batch-size", "32", "--threads", "1"]


@dataclass(frozen=True)
class Ended:
    """How a run of the program ended."""

    code: int
    out: str
    err: str

    @property
    def result(self) -> dict[str, Any]:
        """The JSON object on the last line of standard output."""
        value: dict[str, Any] = json.loads(self.out.splitlines()[-1])
        return value


Run = Callable[..., Ended]


def examples(count: int, *, start: int = 0) -> list[Example]:
    """Examples in three clusters."""
    centers = np.random.default_rng(5).normal(size=(3, DENSE_SIZE)) * 40
    generator = np.random.default_rng(start)
    made = []
    for number in range(start, start + count):
        label = int(generator.integers(3))
        dense = np.clip(np.rint(centers[label] + generator.normal(size=DENSE_SIZE) * 20), -127, 127)
        code = Code(
            dense.astype(np.int8), np.array([label, 10 + number], np.uint32), np.full(2, 90, np.uint8)
        )
        made.append(
            Example(
                id=f"m{number}",
                text=f"message {number}",
                target=f"label{label}",
                code=code,
                fields={"customer": f"c{number % 5}"},
            )
        )
    return made


@pytest.fixture(scope="session")
def make_codes() -> Callable[..., Path]:
    """Writes a codes file of ``count`` examples."""

    def make(path: Path, count: int, start: int = 0) -> Path:
        with CodesWriter(path, coder_fingerprint="c", coder_config={}, dense_size=DENSE_SIZE) as writer:
            writer.write(examples(count, start=start))
        return path

    return make


@pytest.fixture
def inside() -> Run:
    """Runs the program in this process: quick, for everything but what a process alone shows."""

    def run(*arguments: str | Path, stdin: str | None = None) -> Ended:
        result = CliRunner().invoke(app, [str(one) for one in arguments], input=stdin)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return Ended(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def process() -> Run:
    """Runs the program as a process."""

    def run(*arguments: str | Path, stdin: str | None = None) -> Ended:
        done = subprocess.run(
            command(arguments), input=stdin, capture_output=True, text=True, env=environment(), timeout=120
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def start() -> Callable[..., subprocess.Popen[str]]:
    """Starts the program as a process."""

    def run(*arguments: str | Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command(arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )

    return run


def command(arguments: Sequence[str | Path]) -> list[str]:
    """The program's command line."""
    return [sys.executable, "-m", "everlearn", *map(str, arguments)]


def environment() -> dict[str, str]:
    """One thread, and a terminal wide enough that no message is broken."""
    return os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}


@pytest.fixture(scope="session")
def small() -> list[str]:
    """Options of a small learner."""
    return list(SMALL)
