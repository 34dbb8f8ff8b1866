"""Held-out examples: read once, encoded once, predicted after each experience."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from everlearn.errors import InputError
from everlearn.evaluation.prequential import PrequentialScores
from everlearn.stream.order import Experience
from everlearn.stream.source import Rejection, Source
from everlearn.tasks.reading import read_all
from everlearn.types import Example, Learner

__all__ = ["HeldOut", "score"]

_BATCH_SIZE = 512


class HeldOut:
    """A test set that is kept prepared (codes, not texts, where the learner works on codes).

    Args:
        source: Where it comes from.

    Attributes:
        num_records: Records, usable or not.
        rejected: Those that could not be used.

    Raises:
        InputError: No example has a target.
    """

    def __init__(self, source: Source) -> None:
        examples, rejected = read_all(source)
        self._examples: Sequence[Example] = [one for one in examples if one.target is not None]
        self._prepared = False
        self.num_records = len(examples) + len(rejected)
        self.rejected: Sequence[Rejection] = rejected
        if not self._examples:
            detail = f"{len(examples)} examples without target, {len(rejected)} records rejected"
            raise InputError(f"{source.name} cannot be tested on: no example with a target ({detail})")

    def __len__(self) -> int:
        return len(self._examples)

    @property
    def labels(self) -> list[str]:
        """The label of each example."""
        return [str(one.target) for one in self._examples]

    def prepare(self, learner: Learner) -> None:
        """Encode everything that is not yet encoded."""
        if self._prepared:
            return
        prepared: list[Example] = []
        for start in range(0, len(self._examples), _BATCH_SIZE):
            prepared += [
                one if one.code is None else replace(one, text=None, fields={})
                for one in learner.prepare(self._examples[start : start + _BATCH_SIZE])
            ]
        self._examples = prepared
        self._prepared = True

    def scores(self, learner: Learner) -> PrequentialScores:
        """Score the whole set."""
        return score(learner, self._examples)

    def by_experience(self, experiences: Sequence[Experience], order: str) -> list[list[Example]] | None:
        """The set split as the stream was: by its classes or its domains; None for other orders."""
        if order == "by-class":
            groups: dict[str | None, int] = {
                one.target: index
                for index, part in enumerate(experiences)
                for one in part.examples
                if one.target
            }
            keys = [one.target for one in self._examples]
        elif order == "by-domain":
            groups = {one.domain: index for index, part in enumerate(experiences) for one in part.examples}
            keys = [one.domain for one in self._examples]
        else:
            return None
        split: list[list[Example]] = [[] for _ in experiences]
        for key, example in zip(keys, self._examples, strict=True):
            if key in groups:
                split[groups[key]].append(example)
        return split


def score(learner: Learner, examples: Sequence[Example]) -> PrequentialScores:
    """Predict prepared examples and score them."""
    scores = PrequentialScores()
    for start in range(0, len(examples), _BATCH_SIZE):
        batch = examples[start : start + _BATCH_SIZE]
        scores.update(learner.predict(batch), [one.target for one in batch])
    return scores
