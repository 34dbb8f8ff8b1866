"""The exams that candidates sit: what is held back, and how two states are compared on it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from everlearn.evaluation.paired import PairedTest
from everlearn.learning.run_learner import RunLearner
from everlearn.types import Example, Json, Predictor

__all__ = ["Compared", "Examined", "Exams"]

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Examined:
    """Something that predicts, and the generation of the codes that it predicts from."""

    predictor: Predictor
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Two states on the same exam.

    Attributes:
        num_examples: How many examples (or documents, or pairs).
        lost: Those at which only the state that serves is right, or is better.
        won: Those at which only the candidate is.
        p_value: How probable a loss like this is if the candidate is worse by no more than the tolerance.
        change: How the candidate differs, in words.
        scores: The candidate's scores, by the ends of their names.
        numbers: All figures, as journaled.
    """

    num_examples: int
    lost: int
    won: int
    p_value: float
    change: str
    scores: Mapping[str, float | None]
    numbers: Mapping[str, Json]

    @property
    def is_worse(self) -> bool:
        """Whether more is lost than won."""
        return self.lost > self.won


class Exams(ABC, Generic[Item]):
    """Chooses what candidates are examined on, and compares them with the state that serves.

    Attributes:
        has_right_answers: Whether a prediction is right or wrong. Then contradictions of confident
            predictions surprise, and what was set aside can be proved right and learned after all.
    """

    has_right_answers: ClassVar[bool] = False

    def begin(self, live: Examined) -> None:
        """Another candidate is to be compared with the state that serves."""

    def adopt(self, live: Examined) -> None:
        """The candidate serves from now on, as this predictor."""

    def can_compare(self, learner: RunLearner) -> bool:
        """Whether anything can be compared with a state that serves."""
        return True

    @abstractmethod
    def choose(self, first_offset: int | None = None) -> tuple[Sequence[Item], Sequence[Item]]:
        """The recent and the long-term exam, as of now.

        Args:
            first_offset: Where the interval that is judged begins; None: there is none.
        """

    @abstractmethod
    def since(self, first_offset: int) -> Sequence[Item]:
        """All that is held back from an offset on."""

    @abstractmethod
    def needed(self, first_offset: int) -> set[int]:
        """Offsets of all that this candidate and the next are examined on, as of now.

        Args:
            first_offset: Where the present interval begins.
        """

    @abstractmethod
    def compare(
        self,
        live: Examined,
        candidate: Examined,
        items: Sequence[Item],
        *,
        tolerance: float,
        test: PairedTest,
    ) -> Compared:
        """Compare two states item by item.

        Args:
            live: As given to ``begin``.
            candidate: The other one; the same until the next ``begin``.
            items: What is examined on.
            tolerance: What is not held against the candidate.
            test: Which test.
        """

    def right(self, predictor: Predictor, examples: Sequence[Example]) -> Sequence[bool]:
        """Which examples are predicted right; none where there are no right answers."""
        return [False] * len(examples)
