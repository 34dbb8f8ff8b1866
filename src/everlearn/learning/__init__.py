"""Learners: states that predict, learn and forget; and the hooks of a gradient step."""

from __future__ import annotations

from everlearn.learning.batch import Batch
from everlearn.learning.closed_form import ClosedFormConfig, ClosedFormLearner, Coder
from everlearn.learning.gradient import GradientConfig, GradientLearner
from everlearn.learning.method import BoundaryContext, Method, StepContext
from everlearn.learning.objective import ClassificationObjective, ForwardResult, Objective

__all__ = [
    "Batch",
    "BoundaryContext",
    "ClassificationObjective",
    "ClosedFormConfig",
    "ClosedFormLearner",
    "Coder",
    "ForwardResult",
    "GradientConfig",
    "GradientLearner",
    "Method",
    "Objective",
    "StepContext",
]
