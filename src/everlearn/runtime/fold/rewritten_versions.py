"""Versions written anew: without examples that are deleted, or where their saved state was lost.

Where a learner can take examples out of its state, versions are written before the deletion and count with
it. One that learns again from an earlier checkpoint comes by its versions on the way, also after a crash.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice

from everlearn.errors import StateError
from everlearn.journal.history_records import CheckpointRecord, Version
from everlearn.journal.repair.losses import lost_steps
from everlearn.journal.rows.entries import ids_at
from everlearn.journal.standing.held import held_examples
from everlearn.learning.run_learner import RunLearner
from everlearn.runtime.fold.fold import Fold
from everlearn.runtime.folder.run_folder import EXPECTED_VERSIONS, RunFolder
from everlearn.types import Example, Json, State

__all__ = [
    "VersionRewriter",
    "choose_served",
    "expect_versions",
    "fold_versions_again",
    "kept_beside",
    "refolded",
    "write_again",
]

_BATCH = 512


@dataclass(frozen=True, slots=True)
class _Rewritten:
    version: Version
    record: CheckpointRecord


class VersionRewriter:
    """Writes versions anew without examples, where the learner can take these out of its state.

    Args:
        folder: The run, before the deletion.
        offsets: The examples that are about to be deleted.
    """

    def __init__(self, folder: RunFolder, offsets: Sequence[int]) -> None:
        self._folder = folder
        self._offsets = frozenset(offsets)
        self._rewritten: list[_Rewritten] = []
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
            pairs = [
                pair
                for _, pair in held_examples(
                    folder.journal,
                    version.step,
                    sorted(self._offsets),
                    revision=version.revision,
                    generation=generation,
                )
            ]
            if not pairs:
                self._take_over(version, generation)
                continue
            learner, run = self._without(version, generation, pairs)
            if learner is None:
                continue
            if version.version == folder.serving:
                learner.solve()
            record = self._write(version, generation, learner.state(), run)
            self._rewritten.append(
                _Rewritten(
                    replace(
                        version,
                        file=record.file,
                        fingerprint=learner.fingerprint(),
                        num_examples=version.num_examples - len(pairs),
                    ),
                    record,
                )
            )

    def _take_over(self, version: Version, generation: int) -> None:
        """Keep a version that holds none of them; written anew if what it keeps of scores names one."""
        folder = self._folder
        if not folder.task.scores_name_examples:
            self._unchanged.append(version)
            return
        try:
            checkpoint = folder.checkpoints.load(str(version.file))
        except StateError:
            self._unchanged.append(version)
            return
        run = folder.task.without_names(checkpoint.run, self._ids)
        if run == checkpoint.run:
            self._unchanged.append(version)
            return
        record = self._write(version, generation, checkpoint.learner, run)
        self._rewritten.append(_Rewritten(replace(version, file=record.file), record))

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
        records = {one.file: one for one in history.checkpoints()}
        for one in self._rewritten:
            # One that was set aside holds what it held: it does not come back by a deletion.
            known = revision if one.version.version in self._current else one.version.revision
            history.add_checkpoint(replace(one.record, revision=known))
            history.write_version(replace(one.version, revision=known))
        for version in self._unchanged:
            known = revision if version.version in self._current else version.revision
            history.add_checkpoint(replace(records[str(version.file)], revision=known))
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
            learner.resample(_held_by(folder, version, generation, self._offsets))
        return learner, folder.task.without_names(checkpoint.run, self._ids)


def refolded(
    folder: RunFolder, version: Version, generation: int, *, without: frozenset[int] = frozenset()
) -> RunLearner:
    """A version's learner made again from the journal alone.

    Args:
        folder: The run.
        version: One of its versions.
        generation: Of the codes that the version was learned from.
        without: Offsets of examples that it is not to hold.

    Raises:
        StateError: The journal lost something of it, or the learner would have to learn it all again.
    """
    lost = [step for step in lost_steps(folder.journal) if step <= version.step]
    learner = folder.fresh_learner(generation)
    if lost or learner.reads_text:
        raise StateError(f"version {version.version} cannot be folded again from the journal")
    held = _held_by(folder, version, generation, without)
    while batch := list(islice(held, _BATCH)):
        if any(one.code is None for one in batch):
            raise StateError(f"codes of version {version.version} were dropped from the journal")
        learner.learn(batch)
    return learner


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
    for one in versions:
        with suppress(StateError):  # a state that is damaged is folded again, its figures are lost
            found[one.version] = folder.task.without_names(folder.checkpoints.load(str(one.file)).run, ids)
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
    expected = [[one.version, one.reason, beside.get(one.version, {})] for one in versions]
    folder.journal.set_meta(EXPECTED_VERSIONS, json.dumps(expected))


def fold_versions_again(folder: RunFolder, fold: Fold, after: int) -> tuple[int, int]:
    """Make the steps after one again, and write the versions that are expected on the way.

    Args:
        folder: The run.
        fold: Of a learner after that step.
        after: The step.

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
    for version in sorted(folder.history.versions(), key=lambda one: one.step):
        if version.version not in expected or version.file is not None or version.step <= after:
            continue
        if until is not None and version.step > until:
            break
        reason, run = expected[version.version]
        steps, examples = fold.replay(folder.journal, after, version.step)
        num_steps, num_examples, after = num_steps + steps, num_examples + examples, version.step
        with folder.saving(), folder.journal.transaction():
            again = replace(version, reason=reason)
            write_again(folder, again, fold.learner, folder.journal.generation, run)
    steps, examples = fold.replay(folder.journal, after)
    if expected:
        with folder.saving():
            folder.journal.set_meta(EXPECTED_VERSIONS, "")
    return num_steps + steps, num_examples + examples


def _gone_back_to(folder: RunFolder) -> int | None:
    """The step after which a rollback has set everything aside since the last deletion; None: none has.

    Versions from beyond it do not come back by the deletion.
    """
    step = None
    for one in folder.history.revisions():
        if one.kind == "deletion":
            step = None
        elif one.kind == "rollback":
            step = one.first_step - 1 if step is None else min(step, one.first_step - 1)
    return step


def choose_served(folder: RunFolder, note: Callable[[str], None]) -> None:
    """Where what is served has no state any more, serve its nearest ancestor from now on, and say so."""
    wanted = folder.serving
    try:
        version = folder.served_version()
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


def _held_by(
    folder: RunFolder, version: Version, generation: int, without: frozenset[int]
) -> Iterator[Example]:
    held = held_examples(folder.journal, version.step, revision=version.revision, generation=generation)
    return (one for offset, one in held if offset not in without)
