"""Copies of adapters, which a run or a tenant keeps for as long as it is there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from everlearn.journal.durable_files import fsync_folder, make_folder
from everlearn.models.storage.adapters import ADAPTER_FILES, read_adapter

__all__ = ["keep_adapter"]


def keep_adapter(source: Path, target: Path) -> None:
    """Copy an adapter to a folder, in place of what is there; it is not lost with the power.

    Raises:
        ModelError: There is no adapter, or it cannot be read.
        OSError: Copying failed.
    """
    read_adapter(source)
    shutil.rmtree(target, ignore_errors=True)
    make_folder(target)
    for name in ADAPTER_FILES:
        with (target / name).open("wb") as copy:
            copy.write((source / name).read_bytes())
            copy.flush()
            os.fsync(copy.fileno())
    fsync_folder(target)
    fsync_folder(target.parent)
