"""Versions written anew: without examples that are deleted, or where their saved state was lost.

Where a learner can take examples out of its state, versions are written before the deletion and count with
it. One that learns again from an earlier checkpoint comes by its versions on the way, also after a crash.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property

from everlearn.errors import StateError
from everlearn.journal.history_records import CheckpointRecord, Version
from everlearn.journal.rows.entries import ids_at
from everlearn.journal.standing.held import held_examples
from everlearn.learning.run_learner import RunLearner
from everlearn.runtime.fold.fold import Fold
from everlearn.runtime.fold.refold import held_by, refolded
from everlearn.runtime.folder.run_folder import EXPECTED_VERSIONS, RunFolder
from everlearn.runtime.folder.serving import served_version
from everlearn.types import Example, Json, State

__all__ = [
    "VersionRewriter",
    "choose_served",
    "expect_versions",
    "fold_versions_again",
    "kept_beside",
    "write_again",
]


class VersionRewriter:
    """Writes versions anew without examples that are about to be deleted, where a learner can do so."""

    def __init__(self, folder: RunFolder, offsets: Sequence[int]) -> None:
        self._folder = folder
        self._offsets = frozenset(offsets)
        self._rewritten: list[tuple[Version, CheckpointRecord]] = []
        self._unchanged: list[Version] = []
        self._current: set[int] = set()

    def prepare(self) -> None:
        """Write the files; nothing counts yet, and a crash leaves the run as it was."""
        folder = self._folder
        for version in folder.history.versions():
            if version.file is None:
                continue
            if folder.history.is_current(version.step, version.revision):
                self._current.add(version.version)
            generation = folder.checkpoints.generation_of(version.file)
            held = held_examples(
                folder.journal,
                version.step,
                sorted(self._offsets),
                revision=version.revision,
                generation=generation,
            )
            pairs = [pair for _, pair in held]
            if not pairs:
                self._take_over(version, generation)
                continue
            learner, run = self._without(version, generation, pairs)
            if learner is None:
                continue
            if version.version == folder.serving:
                learner.solve()
            record = self._write(version, generation, learner.state(), run)
            rest = version.num_examples - len(pairs)
            rewritten = replace(
                version, file=record.file, fingerprint=learner.fingerprint(), num_examples=rest
            )
            self._rewritten.append((rewritten, record))

    def _take_over(self, version: Version, generation: int) -> None:
        """Keep a version that holds none of them; written anew if what it keeps of scores names one."""
        folder = self._folder
        if folder.task.scores_name_examples:
            with suppress(StateError):  # a damaged state is found out where it is needed
                checkpoint = folder.checkpoints.load(str(version.file))
                run = folder.task.without_names(checkpoint.run, self._ids)
                if run != checkpoint.run:
                    record = self._write(version, generation, checkpoint.learner, run)
                    self._rewritten.append((replace(version, file=record.file), record))
                    return
        self._unchanged.append(version)

    def _write(
        self, version: Version, generation: int, state: State, run: Mapping[str, Json]
    ) -> CheckpointRecord:
        folder = self._folder
        with folder.saving():
            return folder.checkpoints.write(
                state,
                run,
                step=version.step,
                revision=folder.history.last_revision + 1,
                generation=generation,
            )

    @cached_property
    def _ids(self) -> set[str]:
        return set(ids_at(self._folder.journal, self._offsets))

    def adopt(self, revision: int) -> None:
        """Let them count; within the transaction of the deletion, which has this revision."""
        history = self._folder.history
        records = {record.file: record for record in history.checkpoints()}
        unchanged = [(version, records[str(version.file)]) for version in self._unchanged]
        for version, record in [*self._rewritten, *unchanged]:
            # One that was set aside holds what it held: it does not come back by a deletion.
            known = revision if version.version in self._current else version.revision
            history.add_checkpoint(replace(record, revision=known))
            history.write_version(replace(version, revision=known))

    def _without(
        self, version: Version, generation: int, pairs: Sequence[Example]
    ) -> tuple[RunLearner | None, dict[str, Json]]:
        """The version's learner without the examples, and what its checkpoint keeps beside it."""
        folder = self._folder
        try:
            checkpoint = folder.checkpoints.load(str(version.file))
            learner = folder.fresh_learner(checkpoint.generation)
            learner.restore(checkpoint.learner)
        except StateError:
            try:
                return refolded(folder, version, generation, without=self._offsets), {}
            except StateError:
                return None, {}  # it is retired with the deletion
        learner.forget(pairs)
        if learner.needs_resample:
            held = held_by(folder, version, generation, self._offsets)
            learner.resample(example for _, example in held)
        return learner, folder.task.without_names(checkpoint.run, self._ids)


def write_again(
    folder: RunFolder,
    version: Version,
    learner: RunLearner,
    generation: int,
    run: Mapping[str, Json] | None = None,
) -> Version:
    """Give a version a saved state again, within a transaction; returns it as it is now.

    Args:
        folder: The run.
        version: The version.
        learner: In its state.
        generation: Of the codes that it was learned from.
        run: What its checkpoint kept beside the state; None: that is not known any more.
    """
    saved = folder.checkpoints.save(learner.state(), run or {}, step=version.step, generation=generation)
    written = replace(
        version,
        status="kept",
        file=saved.file,
        revision=folder.history.last_revision,
        fingerprint=learner.fingerprint(),
        num_examples=learner.num_examples,
    )
    folder.history.write_version(written)
    return written


def kept_beside(folder: RunFolder, versions: Sequence[Version], ids: set[str]) -> dict[int, dict[str, Json]]:
    """What the checkpoints of versions keep beside the states, without samples of these ids, by version."""
    found: dict[int, dict[str, Json]] = {}
    for version in versions:
        with suppress(StateError):  # a state that is damaged is folded again, its figures are lost
            found[version.version] = folder.task.without_names(
                folder.checkpoints.load(str(version.file)).run, ids
            )
    return found


def expect_versions(
    folder: RunFolder, versions: Sequence[Version], beside: Mapping[int, Mapping[str, Json]]
) -> None:
    """Note that these are to be written when the fold comes by them, within the transaction of a deletion.

    Args:
        folder: The run.
        versions: As they were before the deletion.
        beside: See ``kept_beside``: a run that goes on from a version needs it.
    """
    expected = [[version.version, version.reason, beside.get(version.version, {})] for version in versions]
    folder.journal.set_meta(EXPECTED_VERSIONS, json.dumps(expected))


def fold_versions_again(folder: RunFolder, fold: Fold, after: int) -> tuple[int, int]:
    """Make the steps after one again, by a fold that stands there, and the versions expected on the way.

    Returns:
        Number of steps and of examples that came with them.

    Raises:
        StateError: As ``Fold.replay``.
    """
    expected = {
        version: (reason, beside[0] if beside else None)
        for version, reason, *beside in json.loads(folder.journal.meta(EXPECTED_VERSIONS) or "[]")
    }
    num_steps = num_examples = 0
    until = _gone_back_to(folder)
    for version in sorted(folder.history.versions(), key=lambda made: made.step):
        if version.version not in expected or version.file is not None or version.step <= after:
            continue
        if until is not None and version.step > until:
            break
        reason, run = expected[version.version]
        steps, examples = fold.make_again(folder.journal, after, version.step)
        num_steps, num_examples, after = num_steps + steps, num_examples + examples, version.step
        with folder.saving(), folder.journal.transaction():
            again = replace(version, reason=reason)
            write_again(folder, again, fold.learner, folder.journal.generation, run)
    steps, examples = fold.make_again(folder.journal, after)
    if expected:
        with folder.saving():
            folder.journal.set_meta(EXPECTED_VERSIONS, "")
    return num_steps + steps, num_examples + examples


def _gone_back_to(folder: RunFolder) -> int | None:
    """The step after which a rollback has set everything aside since the last deletion; None: none has.

    Versions from beyond it do not come back by the deletion.
    """
    step = None
    for change in folder.history.revisions():
        if change.kind == "deletion":
            step = None
        elif change.kind == "rollback":
            step = change.first_step - 1 if step is None else min(step, change.first_step - 1)
    return step


def choose_served(folder: RunFolder, note: Callable[[str], None]) -> None:
    """Where what is served has no state any more, serve its nearest ancestor from now on, and say so."""
    wanted = folder.serving
    try:
        version = served_version(folder)
    except StateError as error:
        note(f"{error}.")
        return
    if version is not None and version.version != wanted:
        with folder.saving():
            folder.serve(version.version)
        note(
            f"Version {wanted} lost its state with the deletion; version {version.version}, its nearest "
            "ancestor, is served."
        )
