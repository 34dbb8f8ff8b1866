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

from everlearn.errors import InUseError, RunError

__all__ = ["LOCK_NAME", "acquire_lock"]

LOCK_NAME = ".lock"


def acquire_lock(folder: Path) -> IO[str]:
    """Lock a run folder for writing; closing the returned file lets go of it.

    Raises:
        InUseError: Another process holds it; the message names it.
        RunError: The folder was removed meanwhile.
        OSError: The folder cannot be written.
    """
    lock = (folder / LOCK_NAME).open("a+", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = _described(lock.read())
        lock.close()
        raise InUseError(f"{folder} is {holder}") from None
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


def _described(text: str) -> str:
    """Who holds the lock, by what was written into it, and what to do."""
    try:
        owner = json.loads(text)
        if (owner["process"], owner["host"]) == (os.getpid(), platform.node()):
            return "open in this process already; use what opened it, or close that first"
        who = (
            f" (process {owner['process']} on {owner['host']}, {owner['command']!r}, since {owner['since']})"
        )
    except (ValueError, KeyError, TypeError):
        who = ""
    return f"in use by another everlearn{who}; wait until it has ended, or stop it"


def _command() -> str:
    program = Path(sys.argv[0]).name if sys.argv else ""
    return " ".join(["everlearn" if program == "__main__.py" else program, *sys.argv[1:2]])
