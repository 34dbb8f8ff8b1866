"""One writer at a time: an advisory lock that says who holds it and dies with its process."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from everlearn.errors import RunError

__all__ = ["LOCK_NAME", "acquire_lock"]

LOCK_NAME = ".lock"


def acquire_lock(folder: Path) -> IO[str]:
    """Lock a run folder for writing; closing the returned file lets go of it.

    Raises:
        RunError: Another process holds it; the message names it.
        OSError: The folder cannot be written.
    """
    lock = (folder / LOCK_NAME).open("a+", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        written = lock.read()
        lock.close()
        if _is_own(written):
            raise RunError(
                f"{folder} is open in this process already; use that Run, or close it first"
            ) from None
        raise RunError(
            f"{folder} is in use by {_described(written)}; wait until it has ended, or stop it"
        ) from None
    try:
        is_gone = not os.path.samestat(os.fstat(lock.fileno()), (folder / LOCK_NAME).stat())
    except FileNotFoundError:
        is_gone = True
    if is_gone:  # its holder removed the folder, and then let go of the lock
        lock.close()
        raise RunError(f"{folder} was removed by another everlearn, which had learned nothing; try again")
    owner = {
        "process": os.getpid(),
        "host": platform.node(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": _command(),
    }
    try:
        lock.truncate(0)
        lock.write(json.dumps(owner))
        lock.flush()
    except OSError:
        with suppress(OSError):  # what could not be written is tried again, and fails again
            lock.close()
        raise
    return lock


def _is_own(text: str) -> bool:
    """Whether this very process holds the lock."""
    try:
        owner = json.loads(text)
        return bool(owner["process"] == os.getpid() and owner["host"] == platform.node())
    except (ValueError, KeyError, TypeError):
        return False


def _described(text: str) -> str:
    try:
        owner = json.loads(text)
        return (
            f"another everlearn (process {owner['process']} on {owner['host']}, {owner['command']!r}, "
            f"since {owner['since']})"
        )
    except (ValueError, KeyError, TypeError):
        return "another everlearn"


def _command() -> str:
    program = Path(sys.argv[0]).name if sys.argv else ""
    return " ".join(["everlearn" if program == "__main__.py" else program, *sys.argv[1:2]])
