"""The loop: every batch is predicted, then learned.

```
for batch in stream:
    batch = learner.prepare(batch)          # codes, computed once
    predictions = learner.predict(batch)    # test
    report = learner.learn(batch)           # … then train (``delay`` examples later, if set)
    observers(batch, predictions, report)   # read-only
```
"""

from __future__ import annotations

from collections.abc import Sequence

from everlearn.evaluation.delayed import DelayedTargets
from everlearn.runtime.fold.work_clock import WorkClock
from everlearn.tasks.batch_result import BatchResult, Observer
from everlearn.tasks.learners import refresh
from everlearn.types import Example, Learner, Prediction

__all__ = ["OnlineLoop"]


class OnlineLoop:
    """Predict → learn over batches.

    Args:
        learner: The learner.
        delay: Examples that pass between the prediction of an example and its learning.
        observers: Called after every step, in order; timed as evaluation.
        clock: Where the time goes.
    """

    def __init__(
        self,
        learner: Learner,
        *,
        delay: int = 0,
        observers: Sequence[Observer] = (),
        clock: WorkClock | None = None,
    ) -> None:
        self.learner = learner
        self.pending = DelayedTargets(delay)
        self.clock = clock if clock is not None else WorkClock()
        self._observers = tuple(observers)

    def step(self, examples: Sequence[Example]) -> BatchResult:
        """Prepare, predict and (as far as targets are due) learn one batch."""
        with self.clock.measure("encode"):
            prepared = self.learner.prepare(examples)
        with self.clock.measure("learn"):
            refresh(self.learner)
        with self.clock.measure("predict"):
            predictions = self.learner.predict(prepared)
        return self._learn(prepared, predictions, self.pending.push(prepared))

    def finish(self, batch_size: int = 256) -> None:
        """Learn what still waits for its target: at the end of the stream all targets have come."""
        waiting = self.pending.flush()
        for start in range(0, len(waiting), batch_size):
            self._learn((), (), waiting[start : start + batch_size])

    def _learn(
        self, examples: Sequence[Example], predictions: Sequence[Prediction], due: Sequence[Example]
    ) -> BatchResult:
        report = None
        if due:
            with self.clock.measure("learn"):
                report = self.learner.learn(due)
        result = BatchResult(examples=examples, predictions=predictions, learned=due, report=report)
        with self.clock.measure("evaluate"):
            for observer in self._observers:
                observer(result)
        return result
