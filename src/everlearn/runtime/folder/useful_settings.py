"""Where each setting has an effect: one table, so that none is accepted where it does nothing.

A setting has an effect where all of its conditions hold. A condition names the setting that it looks at, so
that the message can say which one stands in the way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from everlearn.config import RunConfig, flatten_settings
from everlearn.errors import ConfigError
from everlearn.stream.files.codes import CodesSource
from everlearn.stream.source import Source
from everlearn.stream.unused_settings import unused_settings

__all__ = ["CONDITIONS", "check_fits_codes", "check_fits_sources", "check_useful", "effective_values"]

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Condition:
    """Holds where ``holds`` says so of all values; else the value of ``path`` is told."""

    path: str
    holds: Callable[[Values], bool]


def _is(path: str, *allowed: Any) -> _Condition:
    return _Condition(path, lambda values: values[path] in allowed)


def _is_not(path: str, *excluded: Any) -> _Condition:
    return _Condition(path, lambda values: values[path] not in excluded)


_GUARD, _KIND, _OPTIMIZER = "guard.enabled", "learner.kind", "learner.gradient.optimizer"
_SCHEDULE, _TRAINABLE = "learner.gradient.schedule", "learner.gradient.trainable"

_ALWAYS: tuple[_Condition, ...] = ()
_OF_LABELS = (_is("task", "classify"),)
_OF_DOCUMENTS = (_is("task", "lm"),)
_OF_PAIRS = (_is("task", "seq2seq"),)
_NOT_OF_DOCUMENTS = (_is("task", "classify", "seq2seq"),)
_CLOSED_FORM = (*_OF_LABELS, _is(_KIND, "closed-form"))
_BY_GRADIENTS = (_is(_KIND, "gradient"),)
_LABELS_BY_GRADIENTS = (*_OF_LABELS, *_BY_GRADIENTS)
_BELOW_THE_HEAD = _Condition(
    _TRAINABLE, lambda values: values["task"] != "classify" or values[_TRAINABLE] != "head"
)
_CHANGING_RATE = _Condition(
    _SCHEDULE, lambda values: _BELOW_THE_HEAD.holds(values) or values[_SCHEDULE] != "constant"
)
_WITH_LORA = _Condition(_TRAINABLE, lambda values: str(values[_TRAINABLE]).split(":")[0] == "lora")
_WITH_REPLAY = _is_not("learner.gradient.replay", 0)
_WITH_CONTEXT = _is_not("learner.language.carry", "none")
_WITH_ATTENTION = _is_not("learner.language.carry", "none", "recurrent")
# "No window" is true without any context, too.
_WITH_WINDOW = _Condition(
    "learner.language.carry",
    lambda values: (
        values["learner.language.carry"] not in ("none", "recurrent")
        or values["learner.language.window"] == 0
    ),
)
_GROWING = (*_OF_DOCUMENTS, _is_not("learner.vocabulary.words", 0))
_GUARDED = (_is(_GUARD, True),)
_GUARDED_LABELS = (*_OF_LABELS, *_GUARDED)
_SUSPECTING = (*_GUARDED_LABELS, _is_not("guard.suspicious", "off"))
_CONFIDENT = _Condition(
    "guard.suspicious", lambda values: values["guard.suspicious"] != "off" or values["guard.surprise"]
)

_TABLE: tuple[tuple[tuple[_Condition, ...], str], ...] = (
    (_ALWAYS, "task seed model.name model.dtype model.device"),
    (_OF_LABELS, "model.max_length learner.kind"),
    (_CLOSED_FORM, "model.windows model.layers model.batch_invariant"),
    (_ALWAYS, "stream.text_field stream.target_field stream.id_field stream.domain_field stream.time_field"),
    (_ALWAYS, "stream.strict stream.max_record_bytes stream.max_rejected stream.order stream.batch_size"),
    (_ALWAYS, "stream.encoding stream.delimiter"),
    (_OF_DOCUMENTS, "stream.documents stream.piece_bytes"),
    ((_is_not("stream.order", "by-domain"),), "stream.experiences"),
    (_NOT_OF_DOCUMENTS, "stream.delay"),
    (_CLOSED_FORM, "learner.memory_budget learner.closed_form.num_features learner.closed_form.gram_bits"),
    (_CLOSED_FORM, "learner.closed_form.max_classes learner.closed_form.sample_size"),
    (_CLOSED_FORM, "learner.closed_form.outlier_quantile learner.closed_form.refresh_growth"),
    (_BY_GRADIENTS, "learner.gradient.optimizer learner.gradient.weight_decay learner.gradient.schedule"),
    (_BY_GRADIENTS, "learner.gradient.max_gradient_norm learner.gradient.trainable"),
    (_BY_GRADIENTS, "learner.gradient.replay learner.gradient.methods"),
    (_BY_GRADIENTS, "learner.gradient.average_decay learner.gradient.spike_deviations"),
    ((*_BY_GRADIENTS, _BELOW_THE_HEAD), "learner.gradient.learning_rate"),
    ((*_BY_GRADIENTS, _CHANGING_RATE), "learner.gradient.warmup_steps"),
    ((*_BY_GRADIENTS, _is(_SCHEDULE, "linear", "cosine")), "learner.gradient.total_steps"),
    ((*_BY_GRADIENTS, _is(_OPTIMIZER, "momentum")), "learner.gradient.momentum"),
    ((*_BY_GRADIENTS, _WITH_LORA), "learner.gradient.lora_rank learner.gradient.lora_alpha"),
    (_LABELS_BY_GRADIENTS, "learner.gradient.head_learning_rate learner.gradient.max_classes"),
    ((*_BY_GRADIENTS, _WITH_REPLAY), "learner.gradient.replay_share"),
    (
        (*_NOT_OF_DOCUMENTS, *_BY_GRADIENTS, _WITH_REPLAY, _is("learner.gradient.replay_share", None)),
        "learner.gradient.replayed",
    ),
    (_OF_DOCUMENTS, "learner.language.lanes learner.language.chunk_length learner.language.tokens_per_step"),
    (_OF_DOCUMENTS, "learner.language.carry learner.language.gradient_checkpointing"),
    ((*_OF_DOCUMENTS, _WITH_WINDOW), "learner.language.window"),
    ((*_OF_DOCUMENTS, _WITH_ATTENTION), "learner.language.sinks"),
    ((*_OF_DOCUMENTS, _WITH_CONTEXT), "learner.language.gradient_chunks"),
    (_OF_DOCUMENTS, "learner.vocabulary.words"),
    (_GROWING, "learner.vocabulary.min_count learner.vocabulary.watch_bytes learner.vocabulary.alone_steps"),
    (_GROWING, "learner.vocabulary.row_learning_rate learner.vocabulary.row_passes"),
    (_OF_PAIRS, "learner.translation.max_source_length learner.translation.max_target_length"),
    (_OF_PAIRS, "learner.translation.beams learner.translation.label_smoothing"),
    (_OF_PAIRS, "learner.translation.bleu_tokenizer"),
    (_OF_PAIRS, "learner.translation.source_language learner.translation.target_language"),
    (_ALWAYS, "guard.enabled"),
    (_GUARDED, "guard.share guard.every guard.seconds guard.tolerance guard.level guard.test guard.recent"),
    (_GUARDED, "guard.long_term"),
    (_GUARDED_LABELS, "guard.surprise guard.suspicious guard.readmit"),
    ((*_GUARDED_LABELS, _CONFIDENT), "guard.confidence"),
    (_SUSPECTING, "guard.leverage"),
    ((*_GUARDED_LABELS, _is("guard.suspicious", "weigh")), "guard.weight"),
    (_ALWAYS, "run.checkpoint_seconds run.keep_checkpoints run.keep_hourly run.keep_versions run.keep_text"),
    (_ALWAYS, "run.threads run.rolling_window"),
    ((_is("run.keep_text", True),), "run.text_days"),
)

CONDITIONS: Mapping[str, tuple[_Condition, ...]] = {
    path: conditions for conditions, paths in _TABLE for path in paths.split()
}
"""The conditions of every setting, the first that does not hold being the one that is told."""

# One option of the command line sets both, as each learner has its own.
_TOGETHER = frozenset({"learner.closed_form.max_classes", "learner.gradient.max_classes"})


def check_useful(
    config: RunConfig, options: Values, in_file: Values | None = None, *, keeps_texts: bool = False
) -> None:
    """Refuse settings that have no effect beside the others: somebody believes that they do something.

    Args:
        config: Everything that holds.
        options: What was given for this time, by dotted path.
        in_file: What a settings file gives; it may spell defaults out.
        keeps_texts: The run holds texts already, whatever becomes of new ones.

    Raises:
        ConfigError: Names the setting, and the one that stands in its way.
    """
    given = _explicit(options, in_file)
    values = effective_values(config)
    if keeps_texts:
        values["run.keep_text"] = True
    if given >= _TOGETHER:
        kind = "closed_form" if values[_KIND] == "closed-form" else "gradient"
        given -= _TOGETHER - {f"learner.{kind}.max_classes"}
    if config.task != "classify" and _KIND in given:
        if config.learner.kind == "closed-form":
            raise ConfigError(
                f"learner.kind is 'closed-form', which learns labels; with task = {config.task!r} everything "
                "is trained by gradients: leave it out"
            )
        given.remove(_KIND)  # it says what is so anyway
    for path in sorted(given):
        for condition in CONDITIONS[path]:
            if not condition.holds(values):
                raise ConfigError(
                    f"{path} has no effect where {condition.path} = {values[condition.path]!r}; leave it out"
                )
    if config.task != "classify" and config.stream.order == "by-class":
        raise ConfigError(f"stream.order is 'by-class', but with task = {config.task!r} there are no classes")


# What was decided when the codes were made, by its name there.
_OF_THE_CODES = {
    f"model.{name}": name for name in ("max_length", "windows", "layers", "dtype", "batch_invariant")
}


def check_fits_codes(
    source: CodesSource, config: RunConfig, options: Values, in_file: Values | None = None
) -> None:
    """Refuse settings of how texts are encoded that a codes file has no use for.

    Args:
        source: The codes file.
        config: Everything that holds.
        options: As of ``check_useful``.
        in_file: The same.

    Raises:
        ConfigError: Names the setting and the file.
    """
    values = dict(flatten_settings(config.to_mapping()))
    for path in sorted(_explicit(options, in_file)):
        made_with = source.coder_config.get(_OF_THE_CODES.get(path, ""))
        if made_with is not None and values[path] is not None and values[path] not in ("auto", made_with):
            raise ConfigError(
                f"{path} = {values[path]!r} has no effect where the stream is {source.name}, whose codes "
                f"were made with {made_with!r}; leave it out, or encode the texts anew"
            )


def check_fits_sources(sources: Sequence[Source], options: Values, in_file: Values | None = None) -> None:
    """Refuse settings of reading that none of the sources has a use for.

    Args:
        sources: Everything that is read with these settings.
        options: As of ``check_useful``.
        in_file: The same.

    Raises:
        ConfigError: Names the setting and a source.
    """
    unused = [unused_settings(one) for one in sources]
    given = {path for path in _explicit(options, in_file) if {**(in_file or {}), **options}[path] is not None}
    for path in sorted(given):
        section, _, name = path.rpartition(".")
        if section == "stream" and all(name in one for one in unused):
            raise ConfigError(
                f"{path} has no effect where the stream is {sources[0].name}: {unused[0][name]}; leave it out"
            )


def _explicit(options: Values, in_file: Values | None) -> set[str]:
    defaults = dict(flatten_settings(RunConfig().to_mapping()))
    return {*options, *(path for path, value in (in_file or {}).items() if value != defaults.get(path))}


def effective_values(config: RunConfig) -> dict[str, Any]:
    """All settings by dotted path; those that others look at with what a run makes of them if not given."""
    values = dict(flatten_settings(config.to_mapping()))
    if config.task != "classify":
        values[_KIND] = "gradient"
    filled = {
        _OPTIMIZER: "adamw",
        _SCHEDULE: "constant",
        _TRAINABLE: "lora" if config.task == "lm" else "all",
        "learner.vocabulary.words": 0,
        "run.keep_text": values[_KIND] == "gradient",
    }
    for path, value in filled.items():
        if values[path] is None:
            values[path] = value
    return values
