"""Bringing a run's state back: the newest usable checkpoint, then the journal's later steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from everlearn.errors import StateError
from everlearn.runtime.fold import Fold
from everlearn.runtime.metrics_file import restore_scores
from everlearn.runtime.rewritten_versions import fold_versions_again
from everlearn.runtime.run_folder import RunFolder
from everlearn.runtime.run_record import RunStatus
from everlearn.runtime.text_run_scores import AnyRunScores

__all__ = ["Recovered", "recover", "recovery_notes"]


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


def recover(folder: RunFolder, fold: Fold, scores: AnyRunScores | None = None) -> Recovered:
    """Bring a fresh fold to the newest step of the journal.

    Args:
        folder: The run.
        fold: Holds a fresh learner; its observers include ``scores``.
        scores: Fresh scores.

    Raises:
        StateError: Something that is needed is damaged.
    """
    skipped: list[str] = []
    checkpoint = folder.checkpoints.newest(skipped.append)
    status, step = RunStatus(), 0
    if checkpoint is not None:
        status, step = RunStatus.model_validate(checkpoint.run), checkpoint.step
        fold.learner.restore(checkpoint.learner)
        if scores is not None:
            restore_scores(folder, scores, status)
            scores.labels = set(fold.learner.labels)
    elif fold.learner.num_examples:
        raise StateError(
            f"no saved state of {folder.path} can be used; run the same command again, and it folds the "
            "journal from its beginning"
        )
    if scores is not None:
        scores.is_past = True
    num_steps, num_examples = fold_versions_again(folder, fold, step)
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
