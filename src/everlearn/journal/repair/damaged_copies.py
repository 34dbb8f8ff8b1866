"""Copies of a journal's damaged files, kept beside it."""

from __future__ import annotations

import filecmp
import os
import shutil
from pathlib import Path

from everlearn.journal.durable_files import fsync_folder

__all__ = ["keep_damaged", "remove_damaged_copies"]


def keep_damaged(path: Path) -> Path:
    """Copy a file to ``NAME.damaged-N`` beside it, unless the newest such copy equals it."""
    taken = sorted(path.parent.glob(f"{path.name}.damaged-*"), key=lambda earlier: earlier.stat().st_mtime_ns)
    if taken and filecmp.cmp(path, taken[-1], shallow=False):
        return taken[-1]
    number = 1
    while (copy := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    shutil.copyfile(path, copy)
    with copy.open("rb") as file:
        os.fsync(file.fileno())
    fsync_folder(path.parent)
    return copy


def remove_damaged_copies(path: Path) -> None:
    """Delete the copies of a journal's files; they may hold what was deleted from the journal since."""
    for copy in path.parent.glob(f"{path.name}*.damaged-*"):
        copy.unlink()
    fsync_folder(path.parent)
