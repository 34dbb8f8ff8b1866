"""Settings of a vocabulary that grows with its stream."""

from __future__ import annotations

from everlearn.settings.learner_config import LearnerConfig
from everlearn.settings.vocabulary import VocabularySettings

__all__ = ["VocabularyConfig"]


class VocabularyConfig(VocabularySettings, LearnerConfig):
    """When a language model's vocabulary grows, and how its new words are learned."""
