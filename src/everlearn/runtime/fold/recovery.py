"""Bringing a run's state back: the newest usable checkpoint, then the journal's later steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from everlearn.errors import StateError
from everlearn.journal.journal import Journal
from everlearn.journal.standing.learnable import newest_learned
from everlearn.learning.run_learner import RunLearner
from everlearn.runtime.fold.failed_steps import (
    UnmadeStepError,
    is_out_of_memory,
    may_be_of_an_example,
    out_of_memory,
)
from everlearn.runtime.fold.fold import Fold
from everlearn.runtime.fold.rewritten_versions import fold_versions_again
from everlearn.runtime.fold.told_again import tell_again
from everlearn.runtime.fold.unlearnable import require_sound
from everlearn.runtime.folder.metrics_file import restore_scores
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.folder.stream_keys import is_given_once
from everlearn.settings import RunConfig
from everlearn.tasks.records import RunStatus
from everlearn.tasks.scores import RunScores
from everlearn.types import Example

__all__ = ["Recovered", "learned_before", "recover", "recovery_notes", "take_back"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """How a state was brought back.

    Attributes:
        checkpoint_step: The step of the checkpoint it began with; 0: from the beginning.
        num_steps: Steps folded again after it.
        num_examples: Examples that came with those steps.
        skipped: Newer checkpoints that could not be used, and why.
        damage: What of the journal was damaged and skipped, in sentences.
        status: What the checkpoint kept beside the learner's state.
    """

    checkpoint_step: int
    num_steps: int
    num_examples: int
    skipped: Sequence[str]
    damage: Sequence[str]
    status: RunStatus


def recover(
    folder: RunFolder, fold: Fold, scores: RunScores | None = None, *, until: int | None = None
) -> Recovered:
    """Bring a fresh fold to the newest step of the journal.

    Args:
        folder: The run.
        fold: Holds a fresh learner; its observers include ``scores``.
        scores: Fresh scores.
        until: Only to this step, from a state of it or of an earlier one; None: the newest.

    Raises:
        StateError: Something that is needed is damaged.
        UnmadeStepError: A step cannot be made.
    """
    skipped: list[str] = []
    checkpoint = folder.checkpoints.newest(skipped.append)
    status, step = RunStatus(), 0
    if checkpoint is not None:
        status, step = RunStatus.model_validate(checkpoint.run), checkpoint.step
        fold.learner.restore(checkpoint.learner)
    if scores is not None:
        scores.is_past = True
        if checkpoint is not None:
            restore_scores(folder, scores, status)
            if not checkpoint.run:
                tell_again(folder.journal, step, scores)
            scores.labels = set(fold.learner.labels)
    if until is None:
        num_steps, num_examples = fold_versions_again(folder, fold, step)
    else:
        num_steps, num_examples = fold.make_again(folder.journal, step, until)
    if scores is not None:
        scores.is_past = False
        scores.rest()
        scores.counts.forgotten = folder.history.num_forgotten()
    return Recovered(
        checkpoint_step=step,
        num_steps=num_steps,
        num_examples=num_examples,
        skipped=skipped,
        damage=tuple(folder.notes),
        status=status,
    )


def take_back(folder: RunFolder, failed: UnmadeStepError, config: RunConfig) -> None:
    """Take the newest step back out of the journal, as it cannot be made, and note that.

    It was journaled, but never made, so nothing depends on it: its stream is read again from there, and what
    cannot be learned is found then.

    Raises:
        EverlearnError: It is not the step: another one failed, memory ran out, or the model or the machine
            fails at what was learned before as well.
    """
    journal, error = folder.journal, failed.error
    step = journal.step(failed.step) if failed.step == journal.last_step else None
    if step is None:
        raise failed
    if is_out_of_memory(error):
        if step.source is None or not is_given_once(step.source):  # else what came with it would be lost
            with folder.saving():
                journal.rewind(step.step - 1)
        raise out_of_memory(error, str(folder.path)) from error
    if not (may_be_of_an_example(error) or type(error) is StateError):
        raise error
    learner = folder.fresh_learner(config=config)
    recover(folder, Fold(learner), until=step.step - 1)
    require_sound(learner, learned_before(folder.journal, learner, step.step), error)
    came = () if step.arrived is None else journal.examples.arrivals(*step.arrived)
    ids = [arrival.example.id for _, arrival in came]
    with folder.saving():
        journal.rewind(step.step - 1)
    what = f" ({len(ids):,} examples, the first {ids[0]!r})" if ids else ""
    folder.notes.append(
        f"The newest step{what} was journaled, but could not be made ({type(error).__name__}: {error}), and "
        "was taken back out of the journal: its stream is read again from there."
    )


def learned_before(journal: Journal, learner: RunLearner, step: int, count: int = 3) -> list[Example]:
    """A few of the newest examples that were learned before a step, as far as they can be read still."""
    waiting = set(learner.waiting_ids())
    offsets = newest_learned(journal, step, count + len(waiting))
    found = (journal.examples.at(offset) for offset in offsets)
    return [
        example
        for example in found
        if example is not None
        and example.id not in waiting
        and (example.text is not None or example.code is not None)
    ][:count]


def recovery_notes(recovered: Recovered) -> list[str]:
    """What a user should know of a recovery, in sentences."""
    notes = [*recovered.damage, *(f"Not used: {reason}." for reason in recovered.skipped)]
    if recovered.num_steps and (recovered.num_examples or recovered.skipped):
        begun = (
            f"after the checkpoint at step {recovered.checkpoint_step:,}"
            if recovered.checkpoint_step
            else "from the beginning"
        )
        notes.append(
            f"{recovered.num_examples:,} examples ({recovered.num_steps:,} steps) were folded again from the "
            f"journal, {begun}."
        )
    return notes
