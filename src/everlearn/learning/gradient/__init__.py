"""The gradient learner: a pretrained encoder, or any module, trained online one batch at a time."""

from __future__ import annotations

from everlearn.learning.gradient.body import Body, Classifier, VectorBody
from everlearn.learning.gradient.config import GradientConfig
from everlearn.learning.gradient.growing_head import GrowingHead
from everlearn.learning.gradient.learner import GradientLearner
from everlearn.learning.gradient.schedules import learning_rate_factor
from everlearn.learning.gradient.stability import StabilityConfig
from everlearn.learning.gradient.step import gradient_step
from everlearn.learning.gradient.text_body import TextBody

__all__ = [
    "Body",
    "Classifier",
    "GradientConfig",
    "GradientLearner",
    "GrowingHead",
    "StabilityConfig",
    "TextBody",
    "VectorBody",
    "gradient_step",
    "learning_rate_factor",
]
