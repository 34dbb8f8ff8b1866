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

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, Protocol, get_args

from everlearn.evaluation.delayed import DelayedTargets
from everlearn.runtime.learners import refresh
from everlearn.types import Example, Learner, Prediction, StepReport

__all__ = ["BatchResult", "Observer", "OnlineLoop", "WorkClock"]

Work = Literal["encode", "predict", "learn", "evaluate", "save"]


@dataclass(slots=True)
class WorkClock:
    """Wall-clock seconds by kind of work.

    Attributes:
        seconds: ``encode`` (texts to codes), ``predict``, ``learn`` (learning, and solving for a fresh
            predictor), ``evaluate`` (scores, held-out sets, reports), ``save`` (run folder).
    """

    seconds: dict[Work, float] = field(default_factory=lambda: dict.fromkeys(get_args(Work), 0.0))

    @contextmanager
    def measure(self, work: Work) -> Iterator[None]:
        """Add the time that the block takes."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[work] += time.perf_counter() - start


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BatchResult:
    """What happened to one batch.

    Attributes:
        examples: The batch as prepared (N).
        predictions: Made before anything of the batch was learned (N).
        learned: The examples learned in this step; others than ``examples`` where targets are delayed.
        report: What the learner says of it; None where nothing was due.
        num_rejected: Records on the way that gave no example.
        num_unlearned: Pairs that corrections took out before others were learned for them.
        num_late_targets: Examples among ``learned`` that an earlier step had passed over without a target.
    """

    examples: Sequence[Example]
    predictions: Sequence[Prediction]
    learned: Sequence[Example]
    report: StepReport | None
    num_rejected: int = 0
    num_unlearned: int = 0
    num_late_targets: int = 0


class Observer(Protocol):
    """Looks at what happened and changes nothing of it."""

    def __call__(self, result: BatchResult, /) -> None:
        """Called after each step."""
        ...


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
