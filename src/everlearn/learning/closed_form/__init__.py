"""The closed-form learner: exact sums, two experts and their mixture."""

from __future__ import annotations

from everlearn.learning.closed_form.config import ClosedFormConfig
from everlearn.learning.closed_form.learner import ClosedFormLearner, Coder
from everlearn.learning.closed_form.solution import SampleScores

__all__ = ["ClosedFormConfig", "ClosedFormLearner", "Coder", "SampleScores"]
