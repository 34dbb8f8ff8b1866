"""From settings to a learner of a language model or an encoder-decoder, and from a run's record again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any, cast

from everlearn.config import RunConfig
from everlearn.context import CarryConfig
from everlearn.learning.gradient import GradientConfig
from everlearn.learning.gradient.stability import StabilityConfig
from everlearn.learning.language import LanguageConfig, LanguageLearner
from everlearn.learning.method import Method
from everlearn.learning.seq2seq import Seq2SeqConfig, Seq2SeqLearner
from everlearn.methods.registry import create_method
from everlearn.models.causal import load_language_model
from everlearn.models.seq2seq import load_seq2seq_model
from everlearn.runtime.run_record import LearnerRecord

__all__ = ["TEXT_KINDS", "method_settings", "optimization_settings", "text_learner", "text_record"]

TEXT_KINDS = ("language", "seq2seq")
_REPLAY_SHARE = 0.5


def text_record(config: RunConfig) -> LearnerRecord:
    """What it takes to build the learner of a new run again.

    Raises:
        ConfigError: A setting is wrong.
    """
    settings = _language_config(config) if config.task == "lm" else _seq2seq_config(config)
    kind = "language" if config.task == "lm" else "seq2seq"
    return LearnerRecord(
        kind=kind, config={"learner": _to_json(asdict(settings)), "methods": method_settings(config)}
    )


def text_learner(config: RunConfig, record: LearnerRecord) -> LanguageLearner | Seq2SeqLearner:
    """The learner that a record describes, in its first state.

    Raises:
        ConfigError: The model has no such part as is to be trained.
        ModelError: The model cannot be loaded.
    """
    methods: list[Method] = [create_method(name, values) for name, values in record.config["methods"].items()]
    settings = record.config["learner"]
    # Weights that were rounded once stay rounded; the configuration says what products run in.
    if record.kind == "language":
        language_model = load_language_model(config.model_name, dtype="float32", device=config.model.device)
        return LanguageLearner(language_model, _rebuilt(LanguageConfig, settings), methods)
    seq2seq_model = load_seq2seq_model(config.model_name, dtype="float32", device=config.model.device)
    return Seq2SeqLearner(seq2seq_model, _rebuilt(Seq2SeqConfig, settings), methods)


def optimization_settings(config: RunConfig) -> dict[str, Any]:
    """The fields of ``GradientConfig`` that the settings give."""
    others = (
        "replay", "replayed", "replay_share", "methods", "average_decay", "spike_deviations"
    )  # fmt: skip
    settings = {
        name: value
        for name, value in config.learner.gradient.model_dump().items()
        if value is not None and name not in others
    }
    if settings.get("max_gradient_norm") == 0:
        settings["max_gradient_norm"] = None
    return settings | {"seed": config.seed, "dtype": config.model.dtype}


def method_settings(config: RunConfig) -> dict[str, dict[str, Any]]:
    """The continual-learning methods that the settings ask for, in the order of their hooks."""
    gradient = config.learner.gradient
    methods: dict[str, dict[str, Any]] = {}
    if gradient.replay:
        methods["replay"] = {"memory_examples": gradient.replay, "seed": config.seed}
        share = gradient.replay_share
        if share is None and config.task == "lm":
            share = _REPLAY_SHARE
        if share is not None:
            methods["replay"]["replay_share"] = share
        else:
            methods["replay"]["num_replayed"] = gradient.replayed or config.stream.batch_size
    return methods | {name: dict(values) for name, values in gradient.methods.items()}


def _stability(config: RunConfig) -> StabilityConfig:
    gradient = config.learner.gradient
    return StabilityConfig(average_decay=gradient.average_decay, spike_deviations=gradient.spike_deviations)


def _language_config(config: RunConfig) -> LanguageConfig:
    settings = config.learner.language
    sizes = {"num_lanes": settings.lanes, "chunk_length": settings.chunk_length}
    sizes["tokens_per_step"] = settings.tokens_per_step
    carry: dict[str, Any] = {
        "kind": settings.carry,
        "sinks": settings.sinks,
        "window": settings.window,
        "gradient_chunks": settings.gradient_chunks,
    }
    carry = {name: value for name, value in carry.items() if value is not None}
    if carry.get("window") == 0:
        carry["window"] = None
    return LanguageConfig(
        **{name: value for name, value in sizes.items() if value is not None},
        carry=CarryConfig(**carry),
        optimization=GradientConfig(**({"trainable": "lora"} | optimization_settings(config))),
        stability=_stability(config),
        gradient_checkpointing=settings.gradient_checkpointing,
    )


def _seq2seq_config(config: RunConfig) -> Seq2SeqConfig:
    settings = config.learner.translation
    given = {
        "max_source_length": settings.max_source_length,
        "max_target_length": settings.max_target_length,
        "num_beams": settings.beams,
        "label_smoothing": settings.label_smoothing,
    }
    return Seq2SeqConfig(
        **cast(dict[str, Any], {name: value for name, value in given.items() if value is not None}),
        optimization=GradientConfig(**optimization_settings(config)),
        stability=_stability(config),
    )


def _to_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _to_json(one) for name, one in value.items()}
    return [_to_json(one) for one in value] if isinstance(value, tuple | list) else value


def _rebuilt(config_class: type[Any], settings: Mapping[str, Any]) -> Any:
    """A configuration from its JSON: nested ones are of the classes of the defaults, lists are tuples."""
    defaults = config_class()
    values: dict[str, Any] = {}
    for name, value in settings.items():
        default = getattr(defaults, name, None)
        if is_dataclass(default) and not isinstance(default, type):
            values[name] = _rebuilt(type(default), value)
        else:
            values[name] = tuple(value) if isinstance(value, list) else value
    return config_class(**values)
