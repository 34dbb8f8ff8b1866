"""Which learner, and its sizes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from everlearn.settings.closed_form import ClosedFormSettings
from everlearn.settings.conditions import CLOSED_FORM, OF_LABELS
from everlearn.settings.gradient import GradientSettings
from everlearn.settings.language import LanguageSettings
from everlearn.settings.section import Section, setting
from everlearn.settings.translation import TranslationSettings
from everlearn.settings.vocabulary import VocabularySettings

__all__ = ["LearnerSettings"]


class LearnerSettings(Section, panel="Learner"):
    """Which learner, and its sizes."""

    kind: Literal["closed-form", "gradient"] = setting(
        "closed-form", "--learner", "KIND", needs=OF_LABELS, shown_for=("classify",)
    )
    """Learner for labels: closed-form (exact, no forgetting) or gradient."""
    memory_budget: int | None = setting(
        None,
        "--memory-budget",
        "SIZE",
        ge=1_000_000,
        default_text="none, the sizes are chosen one by one",
        needs=CLOSED_FORM,
    )
    """Choose the closed-form learner's sizes to fit in SIZE, such as 512MB. The encoder does not count."""
    closed_form: ClosedFormSettings = Field(default_factory=ClosedFormSettings)
    gradient: GradientSettings = Field(default_factory=GradientSettings)
    language: LanguageSettings = Field(default_factory=LanguageSettings)
    vocabulary: VocabularySettings = Field(default_factory=VocabularySettings)
    translation: TranslationSettings = Field(default_factory=TranslationSettings)
