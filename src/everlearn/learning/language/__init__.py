"""Language models that keep learning: documents chunk by chunk, with carried context."""

from __future__ import annotations

from everlearn.learning.language.config import LanguageConfig
from everlearn.learning.language.dynamic import dynamic_losses
from everlearn.learning.language.learner import LanguageLearner
from everlearn.learning.language.objective import LanguageBatch, LanguageObjective, LanguageResult
from everlearn.learning.language.vocabulary_config import VocabularyConfig

__all__ = [
    "LanguageBatch",
    "LanguageConfig",
    "LanguageLearner",
    "LanguageObjective",
    "LanguageResult",
    "VocabularyConfig",
    "dynamic_losses",
]
