"""Figures of a stream from its journal alone, for a state beside which none are kept."""

from __future__ import annotations

from everlearn.journal.journal import Journal
from everlearn.journal.repair.losses import lost_steps
from everlearn.runtime.fold.fold import recorded_prediction, result_of, step_that_counts
from everlearn.tasks.batch_result import Observer
from everlearn.types import StepReport

__all__ = ["tell_again"]


def tell_again(journal: Journal, until: int, observer: Observer) -> None:
    """Tell of the steps up to one as they were made; nothing is learned, so neither texts nor codes matter.

    Losses of texts are not journaled, and are missing from what is told.
    """
    lost = set(lost_steps(journal))
    for step in journal.steps_after(0):
        if step.step > until:
            break
        if step.step in lost:
            continue
        made = step_that_counts(journal, step)
        learned = made.learned
        num_learned = sum(example.target is not None for example in learned)
        report = StepReport(num_learned=num_learned, num_without_target=len(learned) - num_learned)
        predictions = [recorded_prediction(arrival) for arrival in made.arrivals]
        observer(result_of(made, predictions, report if learned else None))
