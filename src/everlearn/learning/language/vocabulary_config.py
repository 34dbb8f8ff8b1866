"""Settings of a vocabulary that grows with its stream."""

from __future__ import annotations

import math
from dataclasses import dataclass

from everlearn.errors import ConfigError

__all__ = ["VocabularyConfig"]


@dataclass(frozen=True, kw_only=True)
class VocabularyConfig:
    """When a language model's vocabulary grows, and how its new words are learned.

    Attributes:
        words: Words that are added at most; 0: the vocabulary does not grow.
        min_count: Times that a word must have come to be added.
        watch_bytes: UTF-8 bytes of the stream that are watched before the growth. They are kept until then,
            and are part of the state.
        row_learning_rate: Peak rate of the rows of new words.
        alone_steps: Optimizer steps after the growth in which nothing but these rows is trained.
        row_passes: Passes over what was watched in which new rows are aligned with their pieces; 0: none. A
            model of one layer is not aligned.

    Raises:
        ConfigError: Names the field and the value.
    """

    words: int = 0
    min_count: int = 5
    watch_bytes: int = 40_000
    row_learning_rate: float = 2e-3
    alone_steps: int = 20
    row_passes: int = 2

    def __post_init__(self) -> None:
        leasts = {"words": 0, "min_count": 1, "watch_bytes": 1, "alone_steps": 0, "row_passes": 0}
        for name, least in leasts.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConfigError(f"{name} must be a whole number of at least {least}, not {value!r}")
        if not 0.0 < self.row_learning_rate < math.inf:
            raise ConfigError(f"row_learning_rate must be a positive number, not {self.row_learning_rate!r}")
