"""docs/tutorial.md and the walks of docs/sharing.md and docs/service.md, run from top to bottom."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


def blocks(text: str) -> list[tuple[str, str]]:
    """Fenced blocks, as (language, content), in order."""
    return re.findall(r"^```(\w+)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def pattern_of(line: str) -> str:
    """A line of the document as a pattern: ``…`` stands for anything."""
    return ".*".join(re.escape(part) for part in line.split("…"))


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def stop_service(pid_file: Path) -> None:
    """End a service that a walk has left behind where it failed."""
    if pid_file.exists():
        with suppress(ProcessLookupError):
            os.kill(int(pid_file.read_text(encoding="ascii")), signal.SIGKILL)


@pytest.mark.parametrize("page", ["tutorial.md", "sharing.md", "service.md"])
def test_every_command_of_a_page_does_what_it_says(
    tmp_path: Path, page: str, request: pytest.FixtureRequest
) -> None:
    program = tmp_path / "bin"
    program.mkdir()
    for name, module in (("everlearn", " -m everlearn"), ("python", "")):
        path = program / name
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}"{module} "$@"\n', encoding="utf-8")
        path.chmod(0o755)
    folder = tmp_path / "work"
    folder.mkdir()
    environment = os.environ | {
        "PATH": f"{program}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "200",
        "PYTHONPATH": os.pathsep.join(sys.path),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    printed, text = "", (DOCS / page).read_text(encoding="utf-8")
    if page == "service.md":
        request.addfinalizer(lambda: stop_service(folder / "serve.pid"))
        port = str(free_port())
        environment["EVERLEARN_SERVICE_PORT"] = port
        text = text.replace("8600", port)
    for language, content in blocks(text):
        if language in ("mermaid", "python", "shell"):  # shown, not run
            continue
        if language == "sh":
            done = subprocess.run(
                ["bash", "-e", "-c", f"exec 2>&1\n{content}"],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                timeout=300,
            )
            printed = done.stdout
            assert done.returncode == 0, f"{content}\n{printed}"
            assert "Traceback" not in printed
        else:
            for line in content.splitlines():
                assert re.search(pattern_of(line), printed), f"{line!r} is not in:\n{printed}"
