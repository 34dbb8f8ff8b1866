"""Settings of the learner of encoder-decoders."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from everlearn.errors import ConfigError
from everlearn.learning.gradient.config import GradientConfig
from everlearn.learning.gradient.stability import StabilityConfig

__all__ = ["Seq2SeqConfig"]


@dataclass(frozen=True, kw_only=True)
class Seq2SeqConfig:
    """How an encoder-decoder reads pairs, learns from them and generates.

    Attributes:
        max_source_length: Tokens of a source that are read, special tokens included; None: as many as the
            model takes.
        max_target_length: Tokens of a target that are learned, and that are generated at most; None: as many
            as the model takes are learned, and generated are at most twice the source's and 16 more, which
            ends a model that repeats itself.
        source_language: Code of the sources' language, as a multilingual tokenizer has it; None: there are
            no languages, or the tokenizer's own.
        target_language: The same of targets.
        num_beams: Width of the beam search; 1: the most probable token at each step (greedy).
        length_penalty: Beams are ranked by log probability / tokens ** length_penalty.
        label_smoothing: Share of the target probability that is spread evenly over the vocabulary.
        tokens_at_once: Padded tokens, sources and targets, of one pass through the model. A step on more is
            made in several passes whose gradients add up.
        optimization: Optimizer, schedule, clipping, trained part, precision, seed. "layers:K-N" and
            "lora:K-N" count the layers of encoder and decoder alike. A table of embeddings that both sides
            share is part of "all" and "embeddings", but not of "encoder" or "decoder".
            ``head_learning_rate``, ``max_classes`` and ``max_length`` have no meaning here.
        stability: Averaged weights for predictions, guard against loss spikes.

    Raises:
        ConfigError: Names the field and the value.
    """

    max_source_length: int | None = None
    max_target_length: int | None = None
    source_language: str | None = None
    target_language: str | None = None
    num_beams: int = 1
    length_penalty: float = 1.0
    label_smoothing: float = 0.0
    tokens_at_once: int = 8_192
    optimization: GradientConfig = field(default_factory=GradientConfig)
    stability: StabilityConfig = field(default_factory=StabilityConfig)

    def __post_init__(self) -> None:
        for name, least in (("max_source_length", 2), ("max_target_length", 2)):
            value = getattr(self, name)
            if value is not None:
                self._require_whole(name, value, least, "None or ")
        self._require_whole("num_beams", self.num_beams, 1)
        self._require_whole("tokens_at_once", self.tokens_at_once, 1)
        if not 0.0 <= self.label_smoothing < 1.0:
            raise ConfigError(f"label_smoothing must be in [0, 1), not {self.label_smoothing!r}")
        if not math.isfinite(self.length_penalty):
            raise ConfigError(f"length_penalty must be a number, not {self.length_penalty!r}")
        if self.optimization.trainable_part == "head":
            raise ConfigError(
                "trainable cannot be 'head': an encoder-decoder has no classifier's head; "
                "use 'embeddings', 'encoder', 'decoder', 'layers:K-N', 'lora' or 'all'"
            )

    def _require_whole(self, name: str, value: object, least: int, also: str = "") -> None:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ConfigError(f"{name} must be {also}a whole number of at least {least}, not {value!r}")
