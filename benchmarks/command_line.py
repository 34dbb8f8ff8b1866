"""Runs the installed program as a user would, and reads the JSON line it ends with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["run_json", "scratch_folder"]


def run_json(
    arguments: Sequence[str | Path], *, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Run ``everlearn ARGUMENTS --json`` in a process of its own.

    Raises:
        RuntimeError: It failed; the message holds what it wrote to standard error.
    """
    command = [sys.executable, "-m", "everlearn", *(str(argument) for argument in arguments), "--json"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **(environment or {})}
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} exited with {done.returncode}:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.strip().split("\n")[-1])
    return result


def scratch_folder() -> Path:
    """A new empty folder for runs; left behind, so that a run can be looked at."""
    return Path(tempfile.mkdtemp(prefix="everlearn-benchmark-"))
