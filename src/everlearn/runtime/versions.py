"""Versions of a run: made, rewritten after a deletion, retired when there are too many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from everlearn.errors import StateError
from everlearn.journal.held import held_examples
from everlearn.journal.records import Version
from everlearn.runtime.learners import needs_resample
from everlearn.runtime.run_folder import RunFolder
from everlearn.types import Example, Json

__all__ = [
    "VersionRewriter",
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
    with folder.saving(), folder.journal.database.transaction():
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
        one
        for one in folder.history.versions()
        if one.file is not None and folder.history.is_current(one.step, one.revision)
    ]


def newest_examined(versions: Sequence[Version]) -> Version | None:
    """The newest that was examined; one made before there was a guard stands for it where none was."""
    examined = [one for one in versions if one.author in ("guard", "consolidate")]
    return next(reversed(examined or versions), None)


def examined_version(folder: RunFolder) -> Version | None:
    """What a guard compares with: what is served, or else the newest that was examined; None: neither."""
    return folder.served_version() or newest_examined(servable_versions(folder))


def retire_old_versions(folder: RunFolder) -> None:
    """Retire the oldest versions beyond ``run.keep_versions``, but never the one that is served."""
    kept = [one for one in folder.history.versions() if one.file is not None]
    for version in kept[: -folder.config.run.keep_versions]:
        if version.version == folder.serving:
            continue
        limit = folder.config.run.keep_versions
        folder.history.write_version(
            replace(version, status="retired", file=None, reason=f"one of more than {limit} (keep_versions)")
        )
        # Its checkpoint goes with the next pruning.


class VersionRewriter:
    """Writes versions anew without examples that are deleted, where the learner forgets exactly.

    Args:
        folder: The run, before the deletion.
        versions: Its versions that are kept.
        offsets: The examples that are about to be deleted.
    """

    def __init__(self, folder: RunFolder, versions: Sequence[Version], offsets: Sequence[int]) -> None:
        self._folder = folder
        self._versions = versions if folder.record.learner.kind == "closed-form" else ()
        self._pairs: dict[int, list[Example]] = {
            one.version: [
                pair
                for _, pair in held_examples(
                    folder.journal,
                    one.step,
                    offsets,
                    revision=one.revision,
                    generation=folder.checkpoints.generation_of(str(one.file)),
                )
            ]
            for one in self._versions
        }

    def write(self) -> None:
        """Write the versions that hold any of the examples, and keep the others as they are."""
        folder = self._folder
        for version in self._versions:
            pairs = self._pairs[version.version]
            if version.file is None:
                continue
            if not pairs:
                with folder.saving():
                    folder.history.write_version(replace(version, revision=folder.history.last_revision))
                continue
            try:
                checkpoint = folder.checkpoints.load(version.file)
            except StateError as error:
                with folder.saving():
                    reason = f"its state could not be read when examples were deleted: {error}"
                    folder.history.write_version(replace(version, status="retired", file=None, reason=reason))
                continue
            learner = folder.fresh_learner(checkpoint.generation)
            learner.restore(checkpoint.learner)
            learner.forget(pairs)
            if needs_resample(learner):
                continue  # it stays retired: what its sample lacks is not known any more
            with folder.saving():
                saved = folder.checkpoints.save(
                    learner.state(), checkpoint.run, step=version.step, generation=checkpoint.generation
                )
                folder.history.write_version(
                    replace(
                        version,
                        file=saved.file,
                        revision=saved.revision,
                        fingerprint=learner.fingerprint(),
                        num_examples=version.num_examples - len(pairs),
                    )
                )
