"""What a stream is known by in a run."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from pathlib import Path

from everlearn.stream.open import is_standard_input

__all__ = ["PROGRAM", "head_of", "is_given_once", "source_key"]

PROGRAM = "program"
"""What identifies the examples that a program gives."""


def is_given_once(key: str) -> bool:
    """Whether what came from a stream cannot be read again: it was piped, or a program gave it."""
    return key in ("-", PROGRAM) or key.startswith("-:")


def source_key(spec: str) -> str:
    """What identifies a stream in a run: the absolute path of a file, else the name as given."""
    if is_standard_input(spec):
        status = os.fstat(sys.stdin.fileno())
        return f"-:{status.st_dev}:{status.st_ino}" if stat.S_ISREG(status.st_mode) else "-"
    path = Path(spec)
    return str(path.resolve()) if path.exists() else spec


def head_of(key: str, num_bytes: int = 65_536) -> tuple[int, str] | None:
    """How a file begins: the number of bytes looked at and their SHA-256; None for what is no file."""
    path = Path(key)
    if not path.is_file():
        return None
    with path.open("rb") as file:
        head = file.read(num_bytes)
    return len(head), hashlib.sha256(head).hexdigest()
