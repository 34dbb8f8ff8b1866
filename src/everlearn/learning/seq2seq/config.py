"""Settings of the learner of encoder-decoders."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from everlearn.learning.gradient.config import GradientConfig
from everlearn.learning.gradient.stability import StabilityConfig
from everlearn.settings.learner_config import LearnerConfig, same_as
from everlearn.settings.translation import PairSettings, TranslationSettings

__all__ = ["Seq2SeqConfig"]


class Seq2SeqConfig(PairSettings, LearnerConfig):
    """How an encoder-decoder reads pairs, learns from them and generates."""

    num_beams: int = same_as(TranslationSettings, "beams")
    length_penalty: float = 1.0
    """Beams are ranked by log probability / tokens ** length_penalty."""
    tokens_at_once: int = Field(default=8_192, ge=1)
    """Padded tokens, sources and targets, of one pass through the model. A step on more is made in several
    passes whose gradients add up."""
    optimization: GradientConfig = Field(default_factory=GradientConfig)
    """Optimizer, schedule, clipping, trained part, precision, seed. "layers:K-N" and "lora:K-N" count the
    layers of encoder and decoder alike. A table of embeddings that both sides share is part of "all" and
    "embeddings", but not of "encoder" or "decoder". ``head_learning_rate``, ``max_classes`` and
    ``max_length`` have no meaning here."""
    stability: StabilityConfig = Field(default_factory=StabilityConfig)
    """Averaged weights for predictions, guard against loss spikes."""

    @model_validator(mode="after")
    def _has_no_head(self) -> Self:
        if self.optimization.trainable_part == "head":
            raise ValueError(
                "trainable cannot be 'head': an encoder-decoder has no classifier's head; "
                "use 'embeddings', 'encoder', 'decoder', 'layers:K-N', 'lora' or 'all'"
            )
        return self
