"""The closed-form learner of several labels an example."""

from __future__ import annotations

from typing import Any

from everlearn.learning.closed_form.coding import Featurize
from everlearn.learning.closed_form.label_sets.live import LiveSets
from everlearn.learning.closed_form.label_sets.predictor import SetPredictor
from everlearn.learning.closed_form.label_sets.solution import SetSolution
from everlearn.learning.closed_form.label_sets.solver import SetSolver
from everlearn.learning.closed_form.learner import ClosedFormLearner
from everlearn.learning.closed_form.live.live_ridge import LiveRidge
from everlearn.learning.closed_form.live.serving import Settled
from everlearn.learning.closed_form.reading import Reading
from everlearn.learning.closed_form.solution import SampleScores
from everlearn.learning.closed_form.statistics import Statistics
from everlearn.learning.closed_form.statistics.set_table import SetTable
from everlearn.types import Json

__all__ = ["LabelSetLearner"]


class LabelSetLearner(ClosedFormLearner):
    """Learns which labels texts have, none, one or several, in one pass, exactly, in any order.

    A ``ClosedFormLearner`` without the expert on words, whose targets and predictions are sets of labels as
    ``everlearn.label_set`` writes them; a target that is no list is its only label. The probability of a
    label is that an example has it, whatever else it has.

    Example:
        >>> import numpy as np
        >>> from everlearn.learning.closed_form import ClosedFormConfig
        >>> from everlearn.models import VectorCoder
        >>> from everlearn.types import Example
        >>> learner = LabelSetLearner(VectorCoder(2, normalize=False), ClosedFormConfig.of_size(128))
        >>> points = [Example(id=str(k), vector=np.array(v), target=t) for k, (v, t) in enumerate(
        ...     [([0.1, 0.9], '["up"]'), ([0.9, 0.9], '["right","up"]'), ([0.9, 0.1], "right"),
        ...      ([0.0, 0.0], "[]")] * 5)]
        >>> learner.learn(points).new_labels
        ('up', 'right')
        >>> learner.settle()
        >>> learner.predict([Example(id="x", vector=np.array([0.9, 0.8]))])[0].label
        '["right","up"]'
    """

    _state_kind = "label-sets"

    def _new_statistics(self) -> Statistics:
        return Statistics(
            self.config,
            self._featurize,
            self._device,
            self._coding.sketched,
            labels=SetTable(),
            with_words=False,
        )

    def _solver(self) -> SetSolver:
        return SetSolver(self._statistics, self.config, self._coding, self._featurize)

    def _predictor(self, solution: Settled | LiveRidge[Any] | None, featurize: Featurize) -> SetPredictor:
        assert solution is None or isinstance(solution, (SetSolution, LiveSets))
        return SetPredictor(solution, Reading(self._coding.codes, featurize, None, self._coding.sizes))

    def sample_scores(self) -> SampleScores:
        """No exam of single labels can be made of sets."""
        raise NotImplementedError("what is said of sets of labels is not what a trunk is tuned by")

    def _identity(self) -> dict[str, Json]:
        return {**super()._identity(), "targets": "sets"}
