"""What an adapter of several labels an example is made of: a learner over texts or vectors.

Shapes: N examples, F features, C labels.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from everlearn.integrations.label_learner import LabelLearner
from everlearn.integrations.label_names import Label
from everlearn.label_set import NO_LABELS, labels_in, written_set
from everlearn.learning.closed_form.label_sets.learner import LabelSetLearner as SetLearner
from everlearn.types import FloatArray

__all__ = ["LabelSetLearner"]


class LabelSetLearner(LabelLearner):
    """A ``LabelLearner`` whose examples have collections of labels, which may be empty."""

    _kind = SetLearner

    def learn_sets(self, inputs: Sequence[str] | FloatArray, sets: Sequence[Collection[Label]]) -> None:
        """Learn texts or vectors (N, F) with their labels.

        Raises:
            InputError: A label is of another type than str, int, float and bool.
        """
        targets: list[str | None] = [written_set(map(self._names.name_of, one)) for one in sets]
        self.learner.learn(self._examples(inputs, targets))
        self._num_seen += len(targets)

    def predict_sets(
        self, inputs: Sequence[str] | FloatArray
    ) -> tuple[list[Label], FloatArray, npt.NDArray[np.bool_]]:
        """Labels (C), probabilities (N, C) and what is predicted (N, C); they use everything learned."""
        nothing: list[Any] = [None] * len(inputs)
        predictions = self.learner.predict(self._examples(inputs, nothing))
        if not predictions:
            return [], np.zeros((0, 0)), np.zeros((0, 0), np.bool_)
        names = list(predictions[0].labels)
        said = [set(labels_in(prediction.label or NO_LABELS)) for prediction in predictions]
        return (
            [self._names.label_of(name) for name in names],
            np.stack([prediction.probabilities for prediction in predictions]),
            np.array([[name in one for name in names] for one in said], dtype=np.bool_),
        )
