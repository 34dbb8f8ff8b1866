"""Files that a run of several labels is tested on."""

from __future__ import annotations

from collections.abc import Sequence

from everlearn.evaluation.set_scores import SetScores
from everlearn.label_set import labels_in
from everlearn.learning.run_learner import RunLearner
from everlearn.settings import RunConfig
from everlearn.stream.rejections import too_many_rejected
from everlearn.stream.source import Source
from everlearn.tasks.classification.held_out import PreparedHeldOut, scored
from everlearn.tasks.scores import Tested
from everlearn.types import Example, Json

__all__ = ["SetEvaluation", "SetHeldOut"]

_FIGURES = ("micro_f1", "macro_f1", "subset_accuracy")


class SetHeldOut(PreparedHeldOut):
    """A test set with several labels an example. By experience, whole sets are right or wrong."""

    def scores(self, learner: RunLearner) -> SetScores:
        """Predict the whole set and score it."""
        self._prepare(learner)
        return scored(SetScores(), learner, self._examples)

    def test(self, learner: RunLearner) -> Tested:
        """See HeldOut."""
        summary = self.scores(learner).summary()
        return Tested(figures={f"test_{name}": summary[name] for name in _FIGURES})

    def _accuracy(self, learner: RunLearner, examples: Sequence[Example]) -> float | None:
        accuracy: float | None = scored(SetScores(), learner, examples).summary()["subset_accuracy"]
        return accuracy


class SetEvaluation:
    """Scores on the examples of a file that have a target; an ``Evaluation``.

    Args:
        source: The file.
        config: The run's settings.

    Raises:
        InputError: The file cannot be read or has no example with a target.
    """

    def __init__(self, source: Source, config: RunConfig) -> None:
        self._held_out = SetHeldOut(source)
        self._too_many = too_many_rejected(
            source.name, self._held_out.num_records, self._held_out.rejected, config.stream.max_rejected
        )

    def figures(self, learner: RunLearner) -> dict[str, Json]:
        """``examples, micro_f1, macro_f1, subset_accuracy, labels_per_example, rejected, too_many_rejected``.

        And ``unknown_labels``: examples with a label that the run has never learned.
        """
        held_out, known = self._held_out, set(learner.labels)
        summary = held_out.scores(learner).summary()
        names = ("examples", *_FIGURES, "labels_per_example")
        return {
            **{name: summary[name] for name in names},
            "unknown_labels": sum(not known.issuperset(labels_in(target)) for target in held_out.targets),
            "rejected": len(held_out.rejected),
            "too_many_rejected": self._too_many,
        }
