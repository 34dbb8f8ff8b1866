"""Settings of the learner of language models."""

from __future__ import annotations

from dataclasses import dataclass, field

from everlearn.context import CarryConfig
from everlearn.errors import ConfigError
from everlearn.learning.gradient.config import GradientConfig
from everlearn.learning.gradient.stability import StabilityConfig
from everlearn.learning.language.vocabulary_config import VocabularyConfig

__all__ = ["LanguageConfig"]


@dataclass(frozen=True, kw_only=True)
class LanguageConfig:
    """How a language model reads a stream and learns from it.

    Attributes:
        num_lanes: Documents that are read side by side.
        chunk_length: Tokens of a chunk: what a lane reads in one pass through the model.
        tokens_per_step: Fresh tokens of one optimizer step. Where they are more than one chunk of every lane,
            gradients are accumulated over several passes.
        carry: What a lane carries from chunk to chunk, and how far gradients flow back.
        optimization: Optimizer, schedule, clipping, trained parts, precision, seed. ``head_learning_rate``,
            ``max_classes`` and ``max_length`` have no meaning here.
        stability: Averaged weights for prediction, guard against loss spikes.
        gradient_checkpointing: Keep one hidden state a layer and compute the rest again in the backward
            pass: less memory, a third more time.
        vocabulary: Whether the vocabulary grows with the stream.

    Raises:
        ConfigError: Names the field and the value.
    """

    num_lanes: int = 4
    chunk_length: int = 256
    tokens_per_step: int = 1_024
    carry: CarryConfig = field(default_factory=CarryConfig)
    optimization: GradientConfig = field(default_factory=lambda: GradientConfig(trainable="lora"))
    stability: StabilityConfig = field(default_factory=StabilityConfig)
    gradient_checkpointing: bool = False
    vocabulary: VocabularyConfig = field(default_factory=VocabularyConfig)

    def __post_init__(self) -> None:
        for name, least in (("num_lanes", 1), ("chunk_length", 2), ("tokens_per_step", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConfigError(f"{name} must be a whole number of at least {least}, not {value!r}")
        if self.optimization.trainable_part in ("encoder", "decoder"):
            raise ConfigError(
                f"trainable cannot be {self.optimization.trainable!r}: a language model has one side only"
            )
