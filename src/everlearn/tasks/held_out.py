"""Held-out examples: what a run is tested on, and never learns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from everlearn.learning.run_learner import RunLearner
from everlearn.stream.order import Experience
from everlearn.stream.source import Rejection
from everlearn.tasks.scores import Tested

__all__ = ["HeldOut"]


class HeldOut(ABC):
    """A test set, read once.

    Attributes:
        num_records: Records, usable or not.
        rejected: Those that could not be used.
    """

    num_records: int
    rejected: Sequence[Rejection]

    @abstractmethod
    def __len__(self) -> int:
        """Examples that are tested on."""

    @abstractmethod
    def test(self, learner: RunLearner) -> Tested:
        """The figures of the whole set."""

    @abstractmethod
    def after_experience(
        self, learner: RunLearner, matrix: Any, experiences: Sequence[Experience], order: str, index: int
    ) -> Any:
        """The matrix with what is measured of each part of the stream after one of them.

        Args:
            learner: As it is after that part.
            matrix: What was measured before; None: nothing.
            experiences: The parts.
            order: How they were made.
            index: Of the part that ended.

        Returns:
            None where nothing can be measured by parts.
        """
