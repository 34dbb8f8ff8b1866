"""When the predictor is solved again while a stream is learned, and on how many features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from everlearn.learning.closed_form.config import ClosedFormConfig
from everlearn.learning.closed_form.solution import Settings, Solution
from everlearn.types import Json

__all__ = ["DueSolve", "SolveSchedule"]

_NEW_LABELS_AGE = 512  # examples after which a quick solve for new labels is made again
_FEW_EXAMPLES = 2048  # up to here each example counts and solves are small, so they are made more often
_GROWTH_OF_FEW = 1.5


@dataclass(frozen=True, slots=True)
class DueSolve:
    """A solve that is due.

    Attributes:
        num_features: Leading features to solve on.
        is_quick: For new labels alone; the next full solve comes no later for it.
        keep: Settings to keep; nothing is chosen then.
        near: Settings to choose near.
    """

    num_features: int
    is_quick: bool = False
    keep: Settings | None = None
    near: Settings | None = None


class SolveSchedule:
    """Decides when to solve: full solves as the stream grows, quick ones for labels that appeared.

    Args:
        config: Sizes and growth.

    Attributes:
        solved_examples: Examples at the last full solve.
    """

    def __init__(self, config: ClosedFormConfig) -> None:
        self._config = config
        self.solved_examples = 0
        self._solved_labels: tuple[str, ...] = ()  # at the last full solve
        self._tried_examples = 0  # at the last solve of any size

    def due(self, solution: Solution | None, num_examples: int, labels: tuple[str, ...]) -> DueSolve | None:
        """What to solve now, if anything.

        Args:
            solution: The present predictor.
            num_examples: Examples learned.
            labels: Labels learned, by name.
        """
        # Settings fitted while there was one label say nothing of several.
        settings = solution.settings if solution is not None and len(solution.labels) > 1 else None
        growth = self._config.refresh_growth
        if num_examples <= _FEW_EXAMPLES:
            growth = min(growth, _GROWTH_OF_FEW)
        if solution is None or num_examples >= growth * self.solved_examples:
            return DueSolve(self._stream_features(num_examples), near=settings)
        # What is known of new labels ages fast; of the old ones it is good until the next full solve.
        has_aged = num_examples - self._tried_examples >= _NEW_LABELS_AGE
        if solution.labels != labels or (labels != self._solved_labels and has_aged):
            return DueSolve(self._config.small_features, is_quick=True, keep=settings)
        return None

    def note(self, solve: DueSolve, num_examples: int, labels: tuple[str, ...]) -> None:
        """Take note of a solve that was made."""
        self._tried_examples = num_examples
        if not solve.is_quick:
            self.solved_examples = num_examples
            self._solved_labels = labels

    def to_json(self) -> dict[str, Json]:
        """What must be kept so that the next solve comes when it would have come."""
        return {
            "solved_examples": self.solved_examples,
            "solved_labels": list(self._solved_labels),
            "tried_examples": self._tried_examples,
        }

    def restore(self, saved: Mapping[str, Json]) -> None:
        """The inverse of ``to_json``."""
        self.solved_examples = int(saved["solved_examples"])
        self._solved_labels = tuple(str(label) for label in saved["solved_labels"])
        self._tried_examples = int(saved["tried_examples"])

    def _stream_features(self, num_examples: int) -> int:
        """Features worth solving for within a stream: a quarter of the examples, within bounds."""
        small = self._config.small_features
        size = small // 2 if num_examples < 1024 else small
        while size < num_examples / 4:
            size *= 2
        return min(size, self._config.num_features)
