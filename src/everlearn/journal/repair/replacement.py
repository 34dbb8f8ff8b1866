"""Putting a repaired journal in the place of a damaged one so that a crash at any point does no harm.

SQLite would read an old write-ahead log into a new main file. So the new file gets a name of its own first,
which says that it is complete; from then on the exchange can only be finished.
"""

from __future__ import annotations

import os
from pathlib import Path

from everlearn.journal.durable_files import fsync_folder

__all__ = ["finish_replacement", "replace_journal"]


def replace_journal(path: Path, new: Path) -> None:
    """Put a closed journal file in the place of ``path`` and of its log."""
    with new.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(new, _complete(path))
    fsync_folder(path.parent)
    finish_replacement(path)


def finish_replacement(path: Path) -> None:
    """Finish an exchange that a crash has interrupted, if there is one."""
    if not _complete(path).exists():
        return
    for suffix in ("-wal", "-shm"):
        path.with_name(f"{path.name}{suffix}").unlink(missing_ok=True)
    fsync_folder(path.parent)
    os.replace(_complete(path), path)
    fsync_folder(path.parent)


def _complete(path: Path) -> Path:
    return path.with_name(f"{path.name}.repaired")
