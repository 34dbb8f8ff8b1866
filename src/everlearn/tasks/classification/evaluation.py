"""A file with labels that a run is scored on."""

from __future__ import annotations

from everlearn.learning.run_learner import RunLearner
from everlearn.settings import RunConfig
from everlearn.stream.rejections import too_many_rejected
from everlearn.stream.source import Source
from everlearn.tasks.classification.held_out import LabelHeldOut
from everlearn.types import Json

__all__ = ["LabelEvaluation"]


class LabelEvaluation:
    """Scores on the examples of a file that have a target; an ``Evaluation``.

    Args:
        source: The file.
        config: The run's settings.

    Raises:
        InputError: The file cannot be read or has no example with a target.
    """

    def __init__(self, source: Source, config: RunConfig) -> None:
        self._held_out = LabelHeldOut(source)
        self._too_many = too_many_rejected(
            source.name, self._held_out.num_records, self._held_out.rejected, config.stream.max_rejected
        )

    def figures(self, learner: RunLearner) -> dict[str, Json]:
        """``examples, accuracy, macro_f1, log_loss, calibration_error, rejected, too_many_rejected``.

        And ``unknown_labels``: examples whose label the run has never learned.
        """
        held_out, known = self._held_out, set(learner.labels)
        summary = held_out.scores(learner).summary()
        names = ("examples", "accuracy", "macro_f1", "log_loss", "calibration_error")
        return {
            **{name: summary[name] for name in names},
            "unknown_labels": sum(label not in known for label in held_out.targets),
            "rejected": len(held_out.rejected),
            "too_many_rejected": self._too_many,
        }
