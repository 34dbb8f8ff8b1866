"""The learner of a language model's run: from settings, and from a record again."""

from __future__ import annotations

from typing import Any

from everlearn.context import CarryConfig
from everlearn.context.decoder import position_limit, rotates_by_length
from everlearn.errors import ConfigError
from everlearn.learning.gradient import GradientConfig
from everlearn.learning.language import LanguageConfig, LanguageLearner, VocabularyConfig
from everlearn.models.language.causal import LanguageModel, load_language_model
from everlearn.settings import LanguageSettings, RunConfig
from everlearn.settings.language import CHUNK_LENGTH, ROOMY_WINDOW, CarrySettings, ReadingSettings
from everlearn.tasks.optimization import method_settings, optimization_settings, stability_config
from everlearn.tasks.records import LearnerRecord
from everlearn.tasks.texts.building import (
    check_identity,
    create_methods,
    learner_record,
)

__all__ = ["KIND", "language_learner", "language_methods", "new_language_learner"]

KIND = "language"
_REPLAY_SHARE = 0.5


def new_language_learner(config: RunConfig, model_name: str) -> tuple[LanguageLearner, LearnerRecord]:
    """See ``Task.new_learner``."""
    methods = language_methods(config)
    made = create_methods(methods)
    language_model = _load(config, model_name)
    learner = LanguageLearner(language_model, _language_config(config, language_model), made)
    return learner, learner_record(KIND, learner, methods)


def language_methods(config: RunConfig) -> dict[str, dict[str, Any]]:
    """The continual-learning methods that the settings ask for."""
    chunk_length = config.learner.language.chunk_length or CHUNK_LENGTH
    return method_settings(config, tokens_replayed=chunk_length, replay_share=_REPLAY_SHARE)


def language_learner(config: RunConfig, record: LearnerRecord, model_name: str) -> LanguageLearner:
    """See ``Task.learner``. Another ``model.dtype`` than the run's own reads its state otherwise."""
    learner = LanguageLearner(
        _load(config, model_name),
        LanguageConfig.from_json(record.config["learner"]),
        create_methods(record.config["methods"]),
        dtype=config.model.dtype,
    )
    check_identity(learner, record, model_name)
    return learner


def _load(config: RunConfig, model_name: str) -> LanguageModel:
    # Weights that were rounded once stay rounded; the configuration says what products run in.
    return load_language_model(model_name, dtype="float32", device=config.model.device)


def _language_config(config: RunConfig, language_model: LanguageModel) -> LanguageConfig:
    settings = config.learner.language
    shared = settings.model_dump(include=set(ReadingSettings.model_fields))
    carry = settings.model_dump(include=set(CarrySettings.model_fields))
    chunk_length, window = _fitting_lengths(settings, language_model)
    return LanguageConfig(
        **shared,
        num_lanes=settings.lanes,
        chunk_length=chunk_length,
        carry=CarryConfig(**carry, kind=settings.carry, window=window),
        optimization=GradientConfig(**({"trainable": "lora"} | optimization_settings(config))),
        stability=stability_config(config),
        vocabulary=VocabularyConfig(**config.learner.vocabulary.model_dump()),
    )


def _fitting_lengths(settings: LanguageSettings, language_model: LanguageModel) -> tuple[int, int | None]:
    """Length of a chunk and window before it; those that are not given fit into the model's trained length.

    Raises:
        ConfigError: Those that are given do not fit.
    """
    limit = position_limit(language_model.model)
    length, window = settings.chunk_length, settings.window
    sinks = settings.sinks
    if length is None:
        length = CHUNK_LENGTH if limit is None else max(2, min(CHUNK_LENGTH, limit // 2))
    if limit is not None and length > limit:
        raise ConfigError(
            f"learner.language.chunk_length must be at most {limit} tokens, the length that "
            f"{language_model.name} was trained with, not {length}"
        )
    if window == 0 and settings.carry != "none" and rotates_by_length(language_model.model):
        raise ConfigError(
            f"learner.language.window of 0, the whole document, does not fit: {language_model.name} rotates "
            f"by other frequencies beyond {limit} tokens; leave it out, so that it is as large as fits"
        )
    if settings.carry == "none" or window == 0:
        return length, ROOMY_WINDOW if window is None else None if window == 0 else window
    room = None if limit is None else limit - sinks - length
    if window is None:
        window = ROOMY_WINDOW if room is None else max(1, min(ROOMY_WINDOW, room))
    if room is not None and window > room:
        raise ConfigError(
            f"learner.language.window of {window} does not fit: with {sinks} sinks and chunks of {length} "
            f"tokens, {language_model.name}, which was trained with {limit}, has room for {max(room, 0)}; "
            "make the window, learner.language.chunk_length or learner.language.sinks smaller, or set "
            "learner.language.carry to none"
        )
    return length, window
