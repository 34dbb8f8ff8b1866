"""docs/tutorial.md and the walk of docs/sharing.md, run from top to bottom."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


def blocks(text: str) -> list[tuple[str, str]]:
    """Fenced blocks, as (language, content), in order."""
    return re.findall(r"^```(\w+)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def pattern_of(line: str) -> str:
    """A line of the document as a pattern: ``…`` stands for anything."""
    return ".*".join(re.escape(part) for part in line.split("…"))


@pytest.mark.parametrize("page", ["tutorial.md", "sharing.md"])
def test_every_command_of_a_page_does_what_it_says(tmp_path: Path, page: str) -> None:
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
    printed = ""
    for language, content in blocks((DOCS / page).read_text(encoding="utf-8")):
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
