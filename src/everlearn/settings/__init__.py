"""Settings, each declared once: type, range, default, help, unit, option, and where it has an effect."""

from __future__ import annotations

from everlearn.settings.closed_form import ClosedFormSettings
from everlearn.settings.declarations import Declared, declared_in
from everlearn.settings.gradient import GradientSettings
from everlearn.settings.guard import GuardSettings
from everlearn.settings.language import LanguageSettings
from everlearn.settings.learner import LearnerSettings
from everlearn.settings.model import ModelSettings
from everlearn.settings.run_config import DECLARED, RunConfig, flatten_settings
from everlearn.settings.saving import RunSettings
from everlearn.settings.stream import StreamSettings
from everlearn.settings.translation import TranslationSettings
from everlearn.settings.vocabulary import VocabularySettings

__all__ = [
    "DECLARED",
    "ClosedFormSettings",
    "Declared",
    "GradientSettings",
    "GuardSettings",
    "LanguageSettings",
    "LearnerSettings",
    "ModelSettings",
    "RunConfig",
    "RunSettings",
    "StreamSettings",
    "TranslationSettings",
    "VocabularySettings",
    "declared_in",
    "flatten_settings",
]
