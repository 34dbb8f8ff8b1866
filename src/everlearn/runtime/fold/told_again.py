"""Figures of a stream from its journal alone, for a state beside which none are kept."""

from __future__ import annotations

from dataclasses import replace

from everlearn.journal.fold_steps import fold_step
from everlearn.journal.journal import Journal
from everlearn.journal.repair.losses import lost_steps
from everlearn.runtime.fold.fold import recorded_prediction
from everlearn.tasks.batch_result import BatchResult, Observer
from everlearn.types import StepReport

__all__ = ["tell_again"]


def tell_again(journal: Journal, until: int, observer: Observer) -> None:
    """Tell of the steps up to one as they were made; nothing is learned, so neither texts nor codes matter.

    Losses of texts are not journaled, and are missing from what is told.

    Args:
        journal: The journal.
        until: The last step.
        observer: Is told.
    """
    lost = set(lost_steps(journal))
    for step in journal.steps_after(0):
        if step.step > until:
            break
        if step.step in lost:
            continue
        made = fold_step(journal, step)
        if step.set_aside is not None:
            made = replace(made, forgotten=(), learned=(), num_late_targets=0)
        learned = made.learned
        num_learned = sum(one.target is not None for one in learned)
        report = StepReport(num_learned=num_learned, num_without_target=len(learned) - num_learned)
        observer(
            BatchResult(
                examples=[one.example for one in made.arrivals],
                predictions=[recorded_prediction(one) for one in made.arrivals],
                learned=learned,
                report=report if learned else None,
                num_rejected=step.num_rejected,
                num_unlearned=len(made.forgotten),
                num_late_targets=made.num_late_targets,
            )
        )
