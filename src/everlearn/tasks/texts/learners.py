"""From settings to a learner of a language model or an encoder-decoder, and from a run's record again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass, replace
from typing import Any, cast

from everlearn.config import LanguageSettings, RunConfig
from everlearn.context import ROOMY_WINDOW, CarryConfig
from everlearn.context.decoder import position_limit, rotates_by_length
from everlearn.errors import ConfigError, RunError
from everlearn.learning.closed_form import ClosedFormLearner
from everlearn.learning.gradient import GradientConfig, GradientLearner
from everlearn.learning.gradient.stability import StabilityConfig
from everlearn.learning.language import LanguageConfig, LanguageLearner, VocabularyConfig
from everlearn.learning.method import Method
from everlearn.learning.seq2seq import Seq2SeqConfig, Seq2SeqLearner
from everlearn.memory.model_example import OVERHEAD_BYTES
from everlearn.methods.registry import create_method
from everlearn.methods.replay import ReplayConfig
from everlearn.models.language.causal import LanguageModel, load_language_model
from everlearn.models.language.languages import keep_own_language, resolve_languages
from everlearn.models.language.seq2seq import Seq2SeqModel, load_seq2seq_model
from everlearn.tasks.classification.recorded_coder import RecordedCoder
from everlearn.tasks.records import LearnerRecord
from everlearn.types import Example

__all__ = [
    "NO_TARGET",
    "TEXT_KINDS",
    "TextLearner",
    "as_documents",
    "method_settings",
    "new_text_learner",
    "optimization_settings",
    "reading_problem",
    "text_learner",
]

TextLearner = LanguageLearner | Seq2SeqLearner
_KINDS = {"lm": "language", "seq2seq": "seq2seq"}
TEXT_KINDS = tuple(_KINDS.values())
_REPLAY_SHARE = 0.5
_BYTES_OF_A_TOKEN = 4
_BYTES_OF_NAMES = 256
_USUAL_LONGEST_TEXT = 512  # tokens that encoder-decoders are trained with
NO_TARGET = ""
"""The target of a document in the journal: it has none, and none will come."""


def new_text_learner(config: RunConfig) -> tuple[TextLearner, LearnerRecord]:
    """The learner of a new run, and what it takes to build it again: its settings and which model it is.

    Raises:
        ConfigError: A setting is wrong, or does not fit the model.
        ModelError: The model cannot be loaded, or carries nothing of the kind asked for.
    """
    learner: TextLearner
    methods = _methods(method_settings(config))
    if config.task == "lm":
        language_model = _load_language_model(config)
        learner = LanguageLearner(language_model, _language_config(config, language_model), methods)
    else:
        seq2seq_model = _load_seq2seq_model(config)
        wanted = _seq2seq_config(config)
        source, target = resolve_languages(
            seq2seq_model.tokenizer, wanted.source_language, wanted.target_language
        )
        wanted = replace(wanted, source_language=source, target_language=target)
        learner = Seq2SeqLearner(seq2seq_model, wanted, methods)
    settings = {"learner": _to_json(asdict(learner.config)), "methods": method_settings(config)}
    return learner, LearnerRecord(kind=_KINDS[config.task], config=settings | _identity(learner))


def text_learner(config: RunConfig, record: LearnerRecord) -> TextLearner:
    """The learner that a record describes, in its first state.

    Args:
        config: The run's settings; another ``model.dtype`` than the run's own reads its state otherwise.
        record: What the run recorded of its learner.

    Raises:
        ConfigError: The model has no such part as is to be trained.
        ModelError: The model cannot be loaded.
        RunError: It is another one than that of the record.
    """
    learner: TextLearner
    methods = _methods(record.config["methods"])
    settings, dtype = record.config["learner"], config.model.dtype
    if record.kind == "language":
        language_config = _rebuilt(LanguageConfig, settings)
        learner = LanguageLearner(_load_language_model(config), language_config, methods, dtype=dtype)
    else:
        seq2seq_config = _rebuilt(Seq2SeqConfig, settings)
        seq2seq_model = _load_seq2seq_model(config)
        if seq2seq_config.target_language is None:
            keep_own_language(seq2seq_model.tokenizer)
        learner = Seq2SeqLearner(seq2seq_model, seq2seq_config, methods, dtype=dtype)
    for name, found in _identity(learner).items():
        if record.config.get(name, found) != found:
            raise RunError(
                f"the run began with another {name} in {config.model_name!r} than is there now (SHA-256 "
                f"{record.config[name][:12]}…, now {found[:12]}…): put the one that it began with back, or "
                "learn into a new folder"
            )
    return learner


def _identity(learner: TextLearner) -> dict[str, str]:
    description = learner.description()
    return {name: description[name] for name in ("model", "tokenizer")}


def _methods(settings: Mapping[str, Mapping[str, Any]]) -> list[Method]:
    return [create_method(name, values) for name, values in settings.items()]


def _load_language_model(config: RunConfig) -> LanguageModel:
    # Weights that were rounded once stay rounded; the configuration says what products run in.
    return load_language_model(config.model_name, dtype="float32", device=config.model.device)


def _load_seq2seq_model(config: RunConfig) -> Seq2SeqModel:
    return load_seq2seq_model(config.model_name, dtype="float32", device=config.model.device)


def as_documents(examples: Sequence[Example]) -> list[Example]:
    """Examples of a language model as the journal takes them: nothing is to be waited for.

    An example without target counts as one whose target is still to come. A document needs none.
    """
    return [one if one.target is not None else one.with_target(NO_TARGET) for one in examples]


def reading_problem(learner: object, example: Example) -> str | None:
    """Why a learner cannot read an example; None: it can, as far as is told before it is learned."""
    if isinstance(learner, LanguageLearner | Seq2SeqLearner | GradientLearner):
        return learner.reading_problem(example)
    coder = learner.coder if isinstance(learner, ClosedFormLearner) else None
    if isinstance(coder, RecordedCoder) and example.code is None and example.text is not None:
        return coder.reading_problem(example.text)
    return None


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
        needed = gradient.replay * _bytes_of_replayed(config)
        if needed > ReplayConfig.memory_bytes:  # or fewer examples would be kept than were asked for
            methods["replay"]["memory_bytes"] = needed
        share = gradient.replay_share
        if share is None and config.task == "lm":
            share = _REPLAY_SHARE
        if share is not None:
            methods["replay"]["replay_share"] = share
        else:
            methods["replay"]["num_replayed"] = gradient.replayed or config.stream.batch_size
    return methods | {name: dict(values) for name, values in gradient.methods.items()}


def _bytes_of_replayed(config: RunConfig) -> int:
    """What an example in the replay memory takes at most, its id, target and domain being of usual length."""
    language, translation = config.learner.language, config.learner.translation
    if config.task == "lm":
        num_tokens = language.chunk_length or LanguageConfig.chunk_length
    elif config.task == "classify":
        num_tokens = config.model.max_length
    else:
        longest = (translation.max_source_length, translation.max_target_length)
        num_tokens = sum(one or _USUAL_LONGEST_TEXT for one in longest)
    return OVERHEAD_BYTES + _BYTES_OF_NAMES + _BYTES_OF_A_TOKEN * num_tokens


def _stability(config: RunConfig) -> StabilityConfig:
    gradient = config.learner.gradient
    return StabilityConfig(average_decay=gradient.average_decay, spike_deviations=gradient.spike_deviations)


def _language_config(config: RunConfig, language_model: LanguageModel) -> LanguageConfig:
    settings = config.learner.language
    sizes = {"num_lanes": settings.lanes, "tokens_per_step": settings.tokens_per_step}
    carry: dict[str, Any] = {
        "kind": settings.carry,
        "sinks": settings.sinks,
        "gradient_chunks": settings.gradient_chunks,
    }
    carry = {name: value for name, value in carry.items() if value is not None}
    chunk_length, carry["window"] = _fitting_lengths(settings, language_model)
    return LanguageConfig(
        **{name: value for name, value in sizes.items() if value is not None},
        chunk_length=chunk_length,
        carry=CarryConfig(**carry),
        optimization=GradientConfig(**({"trainable": "lora"} | optimization_settings(config))),
        stability=_stability(config),
        gradient_checkpointing=settings.gradient_checkpointing,
        vocabulary=_vocabulary_config(config),
    )


def _vocabulary_config(config: RunConfig) -> VocabularyConfig:
    settings = config.learner.vocabulary.model_dump()
    return VocabularyConfig(**{name: value for name, value in settings.items() if value is not None})


def _fitting_lengths(settings: LanguageSettings, language_model: LanguageModel) -> tuple[int, int | None]:
    """Length of a chunk and window before it; those that are not given fit into the model's trained length.

    Raises:
        ConfigError: Those that are given do not fit.
    """
    limit = position_limit(language_model.model)
    length, window = settings.chunk_length, settings.window
    sinks = CarryConfig.sinks if settings.sinks is None else settings.sinks
    if length is None:
        length = LanguageConfig.chunk_length
        length = length if limit is None else max(2, min(length, limit // 2))
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


def _seq2seq_config(config: RunConfig) -> Seq2SeqConfig:
    settings = config.learner.translation
    given = {
        "max_source_length": settings.max_source_length,
        "max_target_length": settings.max_target_length,
        "source_language": settings.source_language,
        "target_language": settings.target_language,
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
