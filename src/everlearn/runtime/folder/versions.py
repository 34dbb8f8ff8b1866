"""Versions of a run: made, gone back to, retired when there are too many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from everlearn.journal.history_records import Version
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.folder.serving import served_version
from everlearn.types import Json

__all__ = [
    "add_version",
    "continue_from",
    "examined_version",
    "latest_version",
    "newest_examined",
    "retire_old_versions",
    "servable_versions",
]

_PARENT = "parent"


def add_version(
    folder: RunFolder,
    *,
    file: str,
    fingerprint: str,
    num_examples: int,
    reason: str,
    scores: Mapping[str, Json],
    author: str,
) -> Version:
    """Make a version of a checkpoint of the newest step; the oldest beyond those kept are retired.

    Its parent is the version made last, or the one that was gone back to since.
    """
    parent = latest_version(folder)
    with folder.saving(), folder.journal.transaction():
        version = folder.history.add_version(
            parent=parent,
            step=folder.journal.last_step,
            file=file,
            reason=reason,
            fingerprint=fingerprint,
            num_examples=num_examples,
            scores=scores,
            author=author,
        )
        continue_from(folder, version.version)
        retire_old_versions(folder)
    return version


def latest_version(folder: RunFolder) -> int | None:
    """The version made last, or the one that was gone back to since; None: there is none."""
    value = folder.journal.meta(_PARENT)
    return int(value) if value else None


def continue_from(folder: RunFolder, version: int) -> None:
    """Let the next version have this one as its parent."""
    folder.journal.set_meta(_PARENT, str(version))


def servable_versions(folder: RunFolder) -> list[Version]:
    """Those that can be served and learned on from, oldest first."""
    return [
        version
        for version in folder.history.versions()
        if version.file is not None and folder.history.is_current(version.step, version.revision)
    ]


def newest_examined(versions: Sequence[Version]) -> Version | None:
    """The newest that was examined; one made before there was a guard stands for it where none was."""
    examined = [version for version in versions if version.author in ("guard", "consolidate")]
    return next(reversed(examined or versions), None)


def examined_version(folder: RunFolder) -> Version | None:
    """What a guard compares with: what is served, or else the newest that was examined; None: neither."""
    return served_version(folder) or newest_examined(servable_versions(folder))


def retire_old_versions(folder: RunFolder) -> None:
    """Retire the oldest versions beyond ``run.keep_versions``, but never the one that is served."""
    kept = [version for version in folder.history.versions() if version.file is not None]
    for version in kept[: -folder.config.run.keep_versions]:
        if version.version == folder.serving:
            continue
        limit = folder.config.run.keep_versions
        folder.history.write_version(
            replace(version, status="retired", file=None, reason=f"one of more than {limit} (keep_versions)")
        )
        # Its checkpoint goes with the next pruning.
