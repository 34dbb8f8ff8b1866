"""How right learners were on the same stream, each batch predicted before it was learned."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from everlearn.types import Example, Json

__all__ = ["BASELINES", "OWN", "Comparison", "Course"]

OWN = "run"
BASELINES = {
    "class_mean": "nearest class mean",
    "words": "words alone (naive Bayes)",
    "most_frequent": "always the most frequent label",
    "solved": "everlearn, solved anew before every batch",
}
"""Names in figures, and for readers."""


@dataclass(slots=True)
class Course:
    """How many predictions of one learner were right, as the stream went on.

    Attributes:
        name: A key of ``BASELINES``, or ``OWN``.
        hits: Right ones so far, step by step.
    """

    name: str
    hits: list[int] = field(default_factory=list)

    def add(self, predicted: Sequence[str | None], examples: Sequence[Example]) -> None:
        """Score a step; examples without a target are passed over."""
        right = sum(
            label == example.target is not None for label, example in zip(predicted, examples, strict=True)
        )
        self.hits.append(right + (self.hits[-1] if self.hits else 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What several learners reached on the same examples.

    Attributes:
        places: Examples that the run had taken after each step.
        scored: Examples with a target so far, step by step.
        courses: The run's own first.
        num_unlearned: Examples with a target that the run predicted before it had learned any label.
        is_whole: Whether all that the journal holds was compared, not only the beginning.
    """

    places: Sequence[int]
    scored: Sequence[int]
    courses: Sequence[Course]
    num_unlearned: int
    is_whole: bool

    @property
    def num_scored(self) -> int:
        """Examples that all were scored on."""
        return self.scored[-1]

    @property
    def accuracies(self) -> dict[str, float]:
        """Of each learner, 0…1, over all that were scored."""
        return {course.name: course.hits[-1] / self.num_scored for course in self.courses}

    def to_json(self) -> dict[str, Json]:
        """``examples, is_whole``, and the accuracy of each learner by its name."""
        return {"examples": self.num_scored, "is_whole": self.is_whole, **self.accuracies}

    def accuracies_at(self, course: Course, places: Sequence[int]) -> list[float | None]:
        """A learner's accuracy so far at places of the stream; None before the first and behind the last."""
        values: list[float | None] = []
        for place in places:
            step = bisect_right(self.places, place) - 1
            is_within = step >= 0 and (self.is_whole or place <= self.places[-1])
            values.append(course.hits[step] / self.scored[step] if is_within and self.scored[step] else None)
        return values
