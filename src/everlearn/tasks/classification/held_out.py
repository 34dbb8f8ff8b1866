"""Held-out examples with labels: read once, encoded once, predicted after each experience."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

from everlearn.errors import InputError
from everlearn.evaluation.matrix import AccuracyMatrix
from everlearn.evaluation.prequential import PrequentialScores
from everlearn.learning.run_learner import RunLearner
from everlearn.stream.order import Experience
from everlearn.stream.source import Rejection, Source
from everlearn.tasks.held_out import HeldOut
from everlearn.tasks.reading import read_all
from everlearn.tasks.scores import Tested
from everlearn.types import Example, Prediction

__all__ = ["LabelHeldOut", "PreparedHeldOut", "scored"]

_BATCH_SIZE = 512


class PreparedHeldOut(HeldOut):
    """A test set that is kept prepared (codes, not texts, where the learner works on codes).

    Args:
        source: Where it comes from.

    Raises:
        InputError: No example has a target.
    """

    def __init__(self, source: Source) -> None:
        examples, rejected = read_all(source)
        self._examples: Sequence[Example] = [example for example in examples if example.target is not None]
        self._is_prepared = False
        self.num_records = len(examples) + len(rejected)
        self.rejected: Sequence[Rejection] = rejected
        if not self._examples:
            detail = f"{len(examples)} examples without target, {len(rejected)} records rejected"
            raise InputError(f"{source.name} cannot be tested on: no example with a target ({detail})")

    def __len__(self) -> int:
        return len(self._examples)

    @property
    def targets(self) -> list[str]:
        """The target of each example."""
        return [str(example.target) for example in self._examples]

    @abstractmethod
    def _accuracy(self, learner: RunLearner, examples: Sequence[Example]) -> float | None:
        """Share of prepared examples that are predicted right; None where there are none."""

    def after_experience(
        self,
        learner: RunLearner,
        matrix: AccuracyMatrix | None,
        experiences: Sequence[Experience],
        order: str,
        index: int,
    ) -> AccuracyMatrix | None:
        """See HeldOut: accuracy on the part of the set that belongs to each experience."""
        self._prepare(learner)
        parts = self._by_experience(experiences, order)
        if parts is None or len(experiences) < 2:
            return None
        names = [experience.name for experience in experiences]
        if matrix is None or list(matrix.experience_names) != names:
            matrix = AccuracyMatrix(names)
        for on, examples in enumerate(parts):
            accuracy = self._accuracy(learner, examples)
            if accuracy is not None:
                matrix.record(index, on, accuracy)
        return matrix

    def _prepare(self, learner: RunLearner) -> None:
        """Encode everything that is not yet encoded."""
        if self._is_prepared:
            return
        prepared: list[Example] = []
        for start in range(0, len(self._examples), _BATCH_SIZE):
            prepared += [
                example if example.code is None else replace(example, text=None, fields={})
                for example in learner.prepare(self._examples[start : start + _BATCH_SIZE])
            ]
        self._examples = prepared
        self._is_prepared = True

    def _by_experience(self, experiences: Sequence[Experience], order: str) -> list[list[Example]] | None:
        """The set split as the stream was: by its classes or its domains; None for other orders."""
        if order == "by-class":
            groups: dict[str | None, int] = {
                example.target: index
                for index, part in enumerate(experiences)
                for example in part.examples
                if example.target
            }
            keys = [example.target for example in self._examples]
        elif order == "by-domain":
            groups = {
                example.domain: index for index, part in enumerate(experiences) for example in part.examples
            }
            keys = [example.domain for example in self._examples]
        else:
            return None
        parts: list[list[Example]] = [[] for _ in experiences]
        for key, example in zip(keys, self._examples, strict=True):
            if key in groups:
                parts[groups[key]].append(example)
        return parts


class Updated(Protocol):
    """Scores that take in a batch."""

    def update(self, predictions: Sequence[Prediction], targets: Sequence[str | None]) -> None:
        """Score one batch."""
        ...


S = TypeVar("S", bound=Updated)


def scored(scores: S, learner: RunLearner, examples: Sequence[Example]) -> S:
    """Predict prepared examples and score them."""
    for start in range(0, len(examples), _BATCH_SIZE):
        batch = examples[start : start + _BATCH_SIZE]
        scores.update(learner.predict(batch), [example.target for example in batch])
    return scores


class LabelHeldOut(PreparedHeldOut):
    """A test set with one label an example."""

    def scores(self, learner: RunLearner) -> PrequentialScores:
        """Predict the whole set and score it."""
        self._prepare(learner)
        return scored(PrequentialScores(), learner, self._examples)

    def test(self, learner: RunLearner) -> Tested:
        """See HeldOut."""
        scores = self.scores(learner)
        names = ("accuracy", "macro_f1", "log_loss", "calibration_error")
        summary = scores.summary()
        return Tested(figures={f"test_{name}": summary[name] for name in names}, confusion=scores.confusion())

    def _accuracy(self, learner: RunLearner, examples: Sequence[Example]) -> float | None:
        accuracy: float | None = scored(PrequentialScores(), learner, examples).summary()["accuracy"]
        return accuracy
