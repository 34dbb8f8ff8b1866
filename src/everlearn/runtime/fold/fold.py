"""The fold: how a step of the journal becomes a change of state, live and again after a crash.

```
state = fold(step, state)    for every step of the journal that counts
```
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from everlearn.errors import StateError, StorageError
from everlearn.journal.fold_steps import fold_step
from everlearn.journal.journal import Journal
from everlearn.journal.records import After, Arrival, EndedExperience, FoldStep, Step
from everlearn.journal.repair.losses import lost_steps
from everlearn.learning.run_learner import RunLearner
from everlearn.runtime.fold.failed_steps import UnmadeStepError
from everlearn.runtime.fold.work_clock import WorkClock
from everlearn.tasks.batch_result import BatchResult, Observer
from everlearn.tasks.input import has_input
from everlearn.types import Boundary, Example, Prediction, StepReport

__all__ = ["Fold", "recorded_prediction", "result_of", "step_that_counts"]


class Fold:
    """A learner and what looks at it, step by step.

    Args:
        learner: In the state before the next step.
        observers: Called after every step, in order; timed as evaluation.
        clock: Where the time goes.
        on_boundary: Called at the end of an experience, once the learner knows of it.

    Attributes:
        was_learning: Of a step that failed: whether it did while its examples were learned, so that one of
            them can be why; not while somebody looked at what was learned.
    """

    def __init__(
        self,
        learner: RunLearner,
        *,
        observers: Sequence[Observer] = (),
        clock: WorkClock | None = None,
        on_boundary: Callable[[EndedExperience], None] | None = None,
    ) -> None:
        self.learner = learner
        self.clock = clock if clock is not None else WorkClock()
        self.was_learning = False
        self._observers = tuple(observers)
        self._on_boundary = on_boundary

    def prepare(self, examples: Sequence[Example]) -> Sequence[Example]:
        """Compute codes, once."""
        with self.clock.measure("encode"):
            return self.learner.prepare(examples)

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """Predict the examples of a step before it is journaled."""
        with self.clock.measure("learn"):
            self.learner.refresh()
        with self.clock.measure("predict"):
            return self.learner.predict(examples)

    def make(self, step: FoldStep, predictions: Sequence[Prediction]) -> BatchResult:
        """Make a step: learn what is due, tell the observers, do what comes after."""
        report = None
        if step.learned or step.forgotten:
            with self.clock.measure("learn"), self._learning():
                if step.forgotten:
                    report = self.learner.correct(step.forgotten, step.learned)
                else:
                    report = self.learner.learn(step.learned)
        result = result_of(step, predictions, report)
        self._tell(result)
        self._after(step.step.after)
        return result

    @contextmanager
    def _learning(self) -> Iterator[None]:
        self.was_learning = True
        yield
        self.was_learning = False  # not where it failed: whoever catches that asks

    def _tell(self, result: BatchResult) -> None:
        with self.clock.measure("evaluate"):
            for observer in self._observers:
                observer(result)

    def make_again(self, journal: Journal, after: int, until: int | None = None) -> tuple[int, int]:
        """Make the steps after one again, until another (None: the newest), with the predictions of then.

        Returns:
            Number of steps and of examples that came with them.

        Raises:
            StateError: What a step needs is damaged or was dropped.
            UnmadeStepError: A step cannot be made.
        """
        num_steps = num_examples = 0
        lost = set(lost_steps(journal))
        for step in journal.steps_after(after):
            if until is not None and step.step > until:
                break
            after += 1
            if step.step != after or after in lost:
                raise StateError(
                    f"step {after:,} cannot be made again: something that came with it was lost to damage. "
                    "Restore a later checkpoint, or the whole run, from a copy."
                )
            if step.arrived is not None:  # a step without examples was made without a prediction
                with self.clock.measure("learn"):
                    self.learner.refresh()
            made = step_that_counts(journal, step)
            if missing := _without_input(made, self.learner):
                what = (
                    "the text of example {!r} was dropped, and this learner keeps no codes. Restore a later "
                    "checkpoint from a copy, or learn into a new folder with --keep-text."
                    if self.learner.reads_text
                    else "example {!r} has no code of the trunk that counts. Restore a later checkpoint "
                    "from a copy, or go back to a version from before the consolidation."
                )
                raise StateError(f"step {step.step} cannot be made again: {what.format(missing)}")
            predictions = [recorded_prediction(arrival) for arrival in made.arrivals]
            try:
                self.make(made, predictions)
            except StorageError:
                raise
            except Exception as error:
                raise UnmadeStepError(step.step, error) from error
            num_steps += 1
            num_examples += len(made.arrivals)
        return num_steps, num_examples

    def _after(self, after: After) -> None:
        if after.learning_rates:
            self.learner.change_learning_rates(after.learning_rates)
        boundary = after.boundary
        if boundary is not None:
            with self.clock.measure("learn"):
                self.learner.on_boundary(
                    Boundary(reason="experience", num_examples=boundary.num_examples, name=boundary.name)
                )
        if after.settle:
            # At a boundary it is done only to be measured, so its time is not the stream's.
            with self.clock.measure("learn" if boundary is None else "evaluate"), self._learning():
                report = None if self.learner.is_settled else self.learner.settle()
            if report is not None:
                self._tell(BatchResult(examples=(), predictions=(), learned=(), report=report))
        if boundary is not None and self._on_boundary is not None:
            self._on_boundary(boundary)


def step_that_counts(journal: Journal, step: Step) -> FoldStep:
    """What a fold makes of a step: nothing of one that was set aside is learned."""
    made = fold_step(journal, step)
    return made if step.set_aside is None else replace(made, forgotten=(), learned=(), num_late_targets=0)


def result_of(step: FoldStep, predictions: Sequence[Prediction], report: StepReport | None) -> BatchResult:
    """What is told of a step that was made."""
    return BatchResult(
        examples=[arrival.example for arrival in step.arrivals],
        predictions=predictions,
        learned=step.learned,
        report=report,
        num_rejected=step.step.num_rejected,
        num_unlearned=len(step.forgotten),
        num_late_targets=step.num_late_targets,
    )


def recorded_prediction(arrival: Arrival) -> Prediction:
    """A journaled prediction, as far as scores look at it: its label and the target's probability."""
    journaled, target = arrival.prediction, arrival.example.target
    if journaled is None or journaled.label is None:
        return Prediction(None, (), np.zeros(0))
    labels, probabilities = [journaled.label], [journaled.confidence]
    if target is not None and target != journaled.label and journaled.target_probability is not None:
        labels.append(target)
        probabilities.append(journaled.target_probability)
    return Prediction(
        label=journaled.label,
        labels=tuple(labels),
        probabilities=np.array(probabilities),
        outlier_score=journaled.outlier_score,
        is_outlier=journaled.is_outlier,
    )


def _without_input(step: FoldStep, learner: RunLearner) -> str | None:
    """The id of an example that the learner cannot learn any more; None where there is none."""
    reads_text = learner.reads_text
    return next(
        (example.id for example in step.learned if not has_input(example, reads_text=reads_text)), None
    )
