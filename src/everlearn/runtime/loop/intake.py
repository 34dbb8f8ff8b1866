"""Taking a batch in: what is new of it is encoded and predicted, and gets the role that it has in the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from everlearn.journal.records import UNLEARNABLE, Arrival, Flag, JournaledPrediction, Role
from everlearn.learning.run_learner import prediction_problem
from everlearn.runtime.fold.live_run import LiveRun
from everlearn.runtime.fold.recovery import learned_before
from everlearn.runtime.fold.unlearnable import require_sound
from everlearn.runtime.guard.suspicion import role_of
from everlearn.runtime.loop.arrivals import Sorted, sort_arrivals
from everlearn.runtime.loop.due_queue import DueQueue
from everlearn.tasks.label_limit import LabelLimit
from everlearn.types import Example, Prediction

__all__ = ["Intake", "Taken"]


@dataclass(frozen=True, slots=True, eq=False)
class Taken:
    """What is new of a batch, as journaled with its step.

    Attributes:
        first_offset: Of the first.
        arrivals: The examples, each with its role and what was predicted.
        predictions: What was predicted (N).
        flags: Of those that look suspicious.
        unlearnable: Offsets of those that no prediction can be made of, and why.
    """

    first_offset: int
    arrivals: list[Arrival]
    predictions: list[Prediction]
    flags: list[Flag]
    unlearnable: dict[int, str]

    @property
    def last_offset(self) -> int:
        """Of the last."""
        return self.first_offset + len(self.arrivals) - 1

    @property
    def roles(self) -> dict[int, Role]:
        """The role of each example, by its offset."""
        return {
            offset: UNLEARNABLE if offset in self.unlearnable else arrival.role
            for offset, arrival in enumerate(self.arrivals, start=self.first_offset)
        }

    @property
    def to_learn(self) -> list[tuple[int, Example]]:
        """Offsets and examples that are to be learned when their turn comes."""
        return [
            (offset, arrival.example)
            for offset, arrival in enumerate(self.arrivals, start=self.first_offset)
            if arrival.role == "learn" and offset not in self.unlearnable
        ]

    @property
    def reasons(self) -> dict[Example, str]:
        """The examples that no prediction can be made of, and why."""
        return {
            self.arrivals[offset - self.first_offset].example: reason
            for offset, reason in self.unlearnable.items()
        }


class Intake:
    """Takes batches of a stream in for a live state, beside a queue of what waits for its turn."""

    def __init__(self, live: LiveRun, source_name: str, queue: DueQueue) -> None:
        self._live = live
        self._source_name = source_name
        self._queue = queue
        record = live.folder.record.learner
        self._ngram_max = int((record.coder_config or {}).get("ngram_max", 2))
        self._max_labels = live.folder.task.label_limit(live.config, record)

    def sort(self, examples: Sequence[Example], first_number: int) -> Sorted:
        """What of a batch is new, a target for what is known, or to be rejected."""
        labels = self._labels_for(examples)
        return sort_arrivals(self._live, examples, self._source_name, first_number, self._ngram_max, labels)

    def take(self, fresh: Sequence[Example]) -> Taken:
        """Encode and predict new examples.

        Raises:
            ModelError: What was learned before cannot be read any more either: the weights are at fault.
        """
        live, journal = self._live, self._live.folder.journal
        prepared = live.fold.prepare(fresh)
        predictions = live.fold.predict(prepared) if prepared else []
        first = journal.next_offset
        unlearnable = {
            offset: problem
            for offset, prediction in enumerate(predictions, start=first)
            if (problem := prediction_problem(prediction)) is not None
        }
        if unlearnable:
            require_sound(live.learner, learned_before(journal, live.learner, journal.last_step + 1))
            nothing = Prediction(None, (), np.zeros(0))
            predictions = [
                nothing if offset in unlearnable else prediction
                for offset, prediction in enumerate(predictions, start=first)
            ]
        arrivals, flags = [], []
        for offset, (example, prediction) in enumerate(zip(prepared, predictions, strict=True), start=first):
            group = live.folder.task.group_of(example)
            role, flag = role_of(example, prediction, live.config.guard, group=group)
            if offset in unlearnable:
                role, flag = "learn", None  # to be left out, as soon as it is journaled
            arrivals.append(Arrival(example, role, JournaledPrediction.of(prediction, example.target)))
            if flag is not None:
                flags.append(replace(flag, offset=offset))
        return Taken(first, arrivals, predictions, flags, unlearnable)

    def _labels_for(self, examples: Sequence[Example]) -> LabelLimit | None:
        """What refuses labels in a batch; None where all of its labels have room whatever they are."""
        if self._max_labels is None:
            return None
        labels_of = self._live.folder.task.labels_of
        waiting = [label for target in self._queue.targets() for label in labels_of(target)]
        new = sum(len(labels_of(example.target)) for example in examples if example.target is not None)
        if len(self._live.scores.labels) + len(waiting) + new <= self._max_labels:
            return None
        return LabelLimit(self._max_labels, {*self._live.learner.labels, *waiting})
