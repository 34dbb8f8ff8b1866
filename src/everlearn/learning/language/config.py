"""Settings of the learner of language models."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from everlearn.context import CarryConfig
from everlearn.learning.gradient.config import GradientConfig
from everlearn.learning.gradient.stability import StabilityConfig
from everlearn.learning.language.vocabulary_config import VocabularyConfig
from everlearn.settings.language import CHUNK_LENGTH, LanguageSettings, ReadingSettings
from everlearn.settings.learner_config import LearnerConfig, same_as

__all__ = ["LanguageConfig"]


class LanguageConfig(ReadingSettings, LearnerConfig):
    """How a language model reads a stream and learns from it."""

    num_lanes: int = same_as(LanguageSettings, "lanes")
    chunk_length: int = Field(default=CHUNK_LENGTH, ge=2)
    """Tokens of a chunk: what a lane reads in one pass through the model."""
    carry: CarryConfig = Field(default_factory=CarryConfig)
    """What a lane carries from chunk to chunk, and how far gradients flow back."""
    optimization: GradientConfig = Field(default_factory=lambda: GradientConfig(trainable="lora"))
    """Optimizer, schedule, clipping, trained parts, precision, seed. ``head_learning_rate``, ``max_classes``
    and ``max_length`` have no meaning here."""
    stability: StabilityConfig = Field(default_factory=StabilityConfig)
    """Averaged weights for prediction, guard against loss spikes."""
    vocabulary: VocabularyConfig = Field(default_factory=VocabularyConfig)
    """Whether the vocabulary grows with the stream."""

    @model_validator(mode="after")
    def _has_one_side(self) -> Self:
        if self.optimization.trainable_part in ("encoder", "decoder"):
            raise ValueError(
                f"trainable cannot be {self.optimization.trainable!r}: a language model has one side only"
            )
        return self
