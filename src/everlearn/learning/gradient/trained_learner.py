"""What all learners share whose weights are trained by gradient steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from everlearn.learning.gradient.learner_state import fingerprint_of, most_forgotten
from everlearn.learning.gradient.training import Training
from everlearn.learning.method import Method
from everlearn.learning.run_learner import RunLearner
from everlearn.types import Boundary, Example, ForgetReport

__all__ = ["TrainedLearner"]


class TrainedLearner(RunLearner):
    """A learner of texts or vectors around a ``Training``.

    Attributes:
        training: Weights, optimizer, methods and counts.
    """

    training: Training

    @property
    def methods(self) -> tuple[Method, ...]:
        """The continual-learning methods."""
        return self.training.methods

    @property
    def num_examples(self) -> int:
        """Examples that were learned, or wait within the learner."""
        return self.training.num_examples

    @property
    def reads_text(self) -> bool:
        """True: nothing is computed once, so texts are needed to learn them again."""
        return True

    def prepare(self, examples: Sequence[Example]) -> Sequence[Example]:
        """The same examples: nothing is computed once, as every step changes what could be kept."""
        return examples

    def learning_rates(self) -> dict[str, float]:
        """Peak learning rates as they are now."""
        return self.training.rates.peaks()

    def change_learning_rates(self, rates: Mapping[str, float]) -> None:
        """Go on with other peak learning rates."""
        self.training.rates.change(rates)

    def on_boundary(self, boundary: Boundary) -> None:
        """Let the methods consolidate, in order."""
        self.training.on_boundary(boundary)

    def forget(self, examples: Sequence[Example]) -> ForgetReport:
        """Remove examples from the methods' memories, so that they are never replayed again.

        The weights keep what they learned from them, and the report says so: ``exact`` is False, and
        ``num_forgotten`` counts the examples that were in the memories. Use the closed-form learner where
        deletion must be exact.
        """
        ids = {example.id for example in examples}
        return ForgetReport(
            num_forgotten=most_forgotten(self.methods, ids), exact=self.num_examples == 0 or not ids
        )

    def fingerprint(self) -> str:
        """SHA-256 of the whole state: equal for learners that go on equally."""
        return fingerprint_of(self.state())
