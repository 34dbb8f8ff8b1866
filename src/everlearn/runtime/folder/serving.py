"""What a run serves: the version or the state that predictions are made from."""

from __future__ import annotations

from everlearn.errors import StateError
from everlearn.journal.checkpoints import Checkpoint
from everlearn.journal.history_records import Version
from everlearn.runtime.folder.run_folder import EXPECTED_VERSIONS, TRIES, RunFolder

__all__ = ["served_checkpoint", "served_generation", "served_state", "served_version"]


def served_version(folder: RunFolder) -> Version | None:
    """The version that predictions are made from; None: the newest state is served.

    Where the one that is to be served has lost its state, it is its nearest ancestor that has one: what
    nobody has accepted does not take its place.

    Raises:
        StateError: It has no such ancestor.
    """
    path, serving = folder.path, folder.serving
    if serving is None:
        return None
    versions = {version.version: version for version in folder.history.versions()}
    wanted = found = versions.get(serving)
    while found is not None and found.file is None:
        found = versions.get(found.parent) if found.parent is not None else None
    if found is None and folder.journal.meta(EXPECTED_VERSIONS):
        raise StateError(
            f"version {serving}, which is served, is being folded again in {path} without what "
            "was deleted; where that was interrupted, the next command that writes goes on with that "
            "(`everlearn learn`, say)"
        )
    if found is None:
        why = f" ({wanted.reason})" if wanted is not None else ""
        raise StateError(
            f"{path} serves version {serving}, whose state is gone{why}, as are those of all "
            f"before it; `everlearn rollback {path} VERSION` serves another one (see "
            f"`everlearn versions {path}`), `everlearn rollback {path} head` the newest state"
        )
    if wanted is not None and found is not wanted:
        note = (
            f"Version {found.version} is served in place of version {wanted.version}, whose state is "
            f"gone: {wanted.reason}."
        )
        folder.notes += [note] if note not in folder.notes else []
    return found


def served_generation(folder: RunFolder) -> int:
    """Of the codes that what is served was learned from."""
    version = served_version(folder)
    if version is None:
        return folder.journal.generation
    return folder.checkpoints.generation_of(str(version.file))


def served_checkpoint(folder: RunFolder) -> Checkpoint:
    """The state that predictions are made from.

    Raises:
        RunError: Nothing was saved yet.
        StateError: No saved state can be used; the message names what is wrong with each.
    """
    for _ in range(TRIES - 1):
        try:
            return _served_checkpoint(folder)
        except StateError:
            continue  # a writer may have replaced the file between two reads
    return _served_checkpoint(folder)


def _served_checkpoint(folder: RunFolder) -> Checkpoint:
    version = served_version(folder)
    return folder.newest_checkpoint() if version is None else folder.checkpoints.load(str(version.file))


def served_state(folder: RunFolder) -> tuple[str, ...]:
    """What names the state that predictions are made from: another one after each save, or version."""
    version = served_version(folder)
    files = [record.file for record in folder.history.checkpoints()] if version is None else [version.file]
    return tuple(str(file) for file in files)
