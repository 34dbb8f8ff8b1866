"""A learner made again from the journal alone: no saved state is used for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from everlearn.errors import StateError
from everlearn.journal.history_records import Version
from everlearn.journal.repair.losses import lost_steps
from everlearn.journal.standing.held import held_examples
from everlearn.learning.run_learner import RunLearner
from everlearn.runtime.fold.fold import Fold
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.types import Example

__all__ = ["fold_without_state", "held_by", "in_batches", "refolded"]

_BATCH = 512


def fold_without_state(folder: RunFolder, until: int, generation: int) -> RunLearner:
    """A fresh learner folded over the journal up to a step, with codes of a generation."""
    learner = folder.fresh_learner(generation)
    if learner.reads_text:
        Fold(learner).make_again(folder.journal, 0, until)
        return learner
    for batch in in_batches(held_examples(folder.journal, until, generation=generation)):
        learner.learn(batch)
    return learner


def refolded(
    folder: RunFolder, version: Version, generation: int, *, without: frozenset[int] = frozenset()
) -> RunLearner:
    """A version's learner made again.

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
    for batch in in_batches(held_by(folder, version, generation, without)):
        if any(example.code is None for example in batch):
            raise StateError(f"codes of version {version.version} were dropped from the journal")
        learner.learn(batch)
    return learner


def held_by(
    folder: RunFolder, version: Version, generation: int, without: frozenset[int]
) -> Iterator[tuple[int, Example]]:
    """Offsets and examples that a version holds, but for those at some offsets."""
    held = held_examples(folder.journal, version.step, revision=version.revision, generation=generation)
    return ((offset, example) for offset, example in held if offset not in without)


def in_batches(held: Iterable[tuple[int, Example]]) -> Iterator[list[Example]]:
    """Examples that a state holds, some hundreds at a time."""
    rest = iter(held)
    while batch := [example for _, example in islice(rest, _BATCH)]:
        yield batch
