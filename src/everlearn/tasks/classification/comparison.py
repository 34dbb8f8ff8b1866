"""Simple learners on the stream of a run, by its journal.

They are made anew from the journal whenever a report is written, so there is no state to save, to bring back
or to take deleted examples out of: what was forgotten or set aside is not learned, later targets and
corrections are learned when they came. That costs a reading of the codes, so only the beginning of a long
stream is compared: from a sample all would have learned less than they could, and a beginning is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from everlearn.evaluation.baselines import ClassMean, MostFrequent, Words
from everlearn.evaluation.comparison import OWN, Comparison, Course
from everlearn.journal.fold_steps import fold_step
from everlearn.journal.journal import Journal
from everlearn.journal.records import FoldStep
from everlearn.journal.repair.losses import lost_steps
from everlearn.learning.closed_form import ClosedFormLearner
from everlearn.learning.run_learner import RunLearner
from everlearn.types import Example

__all__ = ["compared"]

_MOST_EXAMPLES = 20_000
_MOST_STEPS = 4_000  # a step of one example costs nearly as much as one of many


class _Compared(Protocol):
    @property
    def is_full(self) -> bool: ...

    def can_read(self, example: Example, /) -> bool: ...

    def predict(self, examples: Sequence[Example], /) -> list[str | None]: ...

    def update(self, forgotten: Sequence[Example], learned: Sequence[Example], /) -> None: ...


class _Solved:
    """The run's learner, its settings chosen and its weights solved anew before every batch."""

    is_full = False

    def __init__(self, learner: RunLearner) -> None:
        self._learner = learner

    def can_read(self, example: Example) -> bool:
        """Whether it has a code."""
        return example.code is not None

    def predict(self, examples: Sequence[Example]) -> list[str | None]:
        """Labels."""
        if not examples:
            return []
        if not self._learner.is_settled:
            self._learner.settle()
        return [prediction.label for prediction in self._learner.predict(examples)]

    def update(self, forgotten: Sequence[Example], learned: Sequence[Example]) -> None:
        """Take out pairs, then learn others."""
        if forgotten:
            self._learner.correct(forgotten, learned)
        elif learned:
            self._learner.learn(learned)


def compared(
    journal: Journal,
    fresh_learner: Callable[[], RunLearner],
    *,
    solved: bool = False,
    most_examples: int = _MOST_EXAMPLES,
    most_steps: int = _MOST_STEPS,
) -> Comparison | None:
    """Let simple learners go through what a run went through.

    Args:
        journal: The run's.
        fresh_learner: Makes the run's learner without its state.
        solved: Whether the run's own learner is compared too, solved anew before every batch. Slow.
        most_examples: After so many no further batch is compared.
        most_steps: After so many batches.

    Returns:
        None where nothing was predicted whose target is known.

    Raises:
        StateError: The journal is damaged.
    """
    learners = _learners(journal, fresh_learner, solved=solved)
    courses = {name: Course(name) for name in (OWN, *learners)}
    places: list[int] = []
    scored: list[int] = []
    num_unlearned = 0
    is_whole = True
    lost = set(lost_steps(journal))
    for step in journal.steps_after(0):
        if step.arrived is not None and places and (places[-1] >= most_examples or len(places) >= most_steps):
            is_whole = False
            break
        if step.step in lost:
            continue
        made = fold_step(journal, step)
        for name in [name for name, learner in learners.items() if not _goes_on(learner, made)]:
            del learners[name], courses[name]
        if step.arrived is not None:
            examples, own = _predicted(made)
            courses[OWN].add(own, examples)
            for name, learner in learners.items():
                courses[name].add(learner.predict(examples), examples)
            known = [label for label, one in zip(own, examples, strict=True) if one.target is not None]
            places.append(step.arrived[1])
            scored.append(len(known) + (scored[-1] if scored else 0))
            num_unlearned += known.count(None)
        if step.set_aside is None:
            for learner in learners.values():
                learner.update(made.forgotten, made.learned)
    if not scored or not scored[-1]:
        return None
    return Comparison(
        places=places,
        scored=scored,
        courses=list(courses.values()),
        num_unlearned=num_unlearned,
        is_whole=is_whole,
    )


def _learners(
    journal: Journal, fresh_learner: Callable[[], RunLearner], *, solved: bool
) -> dict[str, _Compared]:
    learners: dict[str, _Compared] = {}
    _, first = next(journal.examples.arrivals(1, journal.next_offset - 1), (0, None))
    # A tuned trunk has seen the texts that it would be compared on.
    if first is not None and first.example.code is not None and not journal.generations.have_changed:
        learner = fresh_learner()
        if isinstance(learner, ClosedFormLearner):
            learners["class_mean"] = ClassMean(learner.leading_size)
            if solved:
                learners["solved"] = _Solved(learner)
    return learners | {"words": Words(), "most_frequent": MostFrequent()}


def _goes_on(learner: _Compared, made: FoldStep) -> bool:
    """Whether a learner can take a step: codes and texts may have been dropped."""
    examples = [*(arrival.example for arrival in made.arrivals), *made.forgotten, *made.learned]
    return not learner.is_full and all(map(learner.can_read, examples))


def _predicted(made: FoldStep) -> tuple[list[Example], list[str | None]]:
    """The examples of a step that the run predicted, and its labels."""
    examples, labels = [], []
    for arrival in made.arrivals:
        if arrival.prediction is not None:
            examples.append(arrival.example)
            labels.append(arrival.prediction.label)
    return examples, labels
