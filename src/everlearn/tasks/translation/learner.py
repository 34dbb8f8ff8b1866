"""The learner of an encoder-decoder's run: from settings, and from a record again."""

from __future__ import annotations

from typing import Any

from everlearn.learning.gradient import GradientConfig
from everlearn.learning.seq2seq import Seq2SeqConfig, Seq2SeqLearner
from everlearn.models.language.languages import keep_own_language, resolve_languages
from everlearn.models.language.seq2seq import Seq2SeqModel, load_seq2seq_model
from everlearn.settings import RunConfig
from everlearn.settings.translation import PairSettings
from everlearn.tasks.optimization import method_settings, optimization_settings, stability_config
from everlearn.tasks.records import LearnerRecord
from everlearn.tasks.texts.building import (
    check_identity,
    create_methods,
    learner_record,
)

__all__ = ["KIND", "new_seq2seq_learner", "seq2seq_learner", "seq2seq_methods"]

KIND = "seq2seq"
_USUAL_LONGEST_TEXT = 512  # tokens that encoder-decoders are trained with


def new_seq2seq_learner(config: RunConfig, model_name: str) -> tuple[Seq2SeqLearner, LearnerRecord]:
    """See ``Task.new_learner``."""
    methods = seq2seq_methods(config)
    made = create_methods(methods)
    seq2seq_model = _load(config, model_name)
    wanted = _seq2seq_config(config)
    source, target = resolve_languages(
        seq2seq_model.tokenizer, wanted.source_language, wanted.target_language
    )
    wanted = wanted.replace(source_language=source, target_language=target)
    learner = Seq2SeqLearner(seq2seq_model, wanted, made)
    return learner, learner_record(KIND, learner, methods)


def seq2seq_methods(config: RunConfig) -> dict[str, dict[str, Any]]:
    """The continual-learning methods that the settings ask for."""
    translation = config.learner.translation
    longest = (translation.max_source_length, translation.max_target_length)
    return method_settings(config, tokens_replayed=sum(length or _USUAL_LONGEST_TEXT for length in longest))


def seq2seq_learner(config: RunConfig, record: LearnerRecord, model_name: str) -> Seq2SeqLearner:
    """See ``Task.learner``. Another ``model.dtype`` than the run's own reads its state otherwise."""
    methods = create_methods(record.config["methods"])
    seq2seq_config = Seq2SeqConfig.from_json(record.config["learner"])
    seq2seq_model = _load(config, model_name)
    if seq2seq_config.target_language is None:
        keep_own_language(seq2seq_model.tokenizer)
    learner = Seq2SeqLearner(seq2seq_model, seq2seq_config, methods, dtype=config.model.dtype)
    check_identity(learner, record, model_name)
    return learner


def _load(config: RunConfig, model_name: str) -> Seq2SeqModel:
    # Weights that were rounded once stay rounded; the configuration says what products run in.
    return load_seq2seq_model(model_name, dtype="float32", device=config.model.device)


def _seq2seq_config(config: RunConfig) -> Seq2SeqConfig:
    settings = config.learner.translation
    return Seq2SeqConfig(
        **settings.model_dump(include=set(PairSettings.model_fields)),
        num_beams=settings.beams,
        optimization=GradientConfig(**optimization_settings(config)),
        stability=stability_config(config),
    )
