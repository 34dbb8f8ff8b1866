"""What predictors of single labels and of sets of labels have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar

import numpy as np

from everlearn.learning.closed_form.reading import Read, Reading
from everlearn.types import Example, Prediction

__all__ = ["ReadingPredictor"]

S = TypeVar("S")


class ReadingPredictor(ABC, Generic[S]):
    """Predicts by a solution; it stays as it is while the learner goes on.

    Args:
        solution: The solution; None while nothing is learned.
        reading: How examples are read.

    Attributes:
        solution: As given.
        reading: As given.
    """

    def __init__(self, solution: S | None, reading: Reading) -> None:
        self.solution = solution
        self.reading = reading

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """One prediction an example; label None while nothing is learned."""
        if not examples or self.solution is None:
            return [Prediction(None, (), np.zeros(0)) for _ in examples]
        return self._said(self.solution, self.reading(examples))

    def predict_read(self, read: Read) -> list[Prediction]:
        """The same of examples, at least one, that were read as ``reading`` reads them."""
        if self.solution is None:
            return [Prediction(None, (), np.zeros(0)) for _ in range(len(read.features_BM))]
        return self._said(self.solution, read)

    @abstractmethod
    def _said(self, solution: S, read: Read) -> list[Prediction]:
        """What a solution says of examples, at least one."""
