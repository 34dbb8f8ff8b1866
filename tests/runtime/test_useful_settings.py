"""No setting is accepted where it has no effect, whatever task and learner it is given to."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from everlearn.errors import ConfigError
from everlearn.runtime.commands.learn import LearnRequest, learn_stream
from everlearn.runtime.commands.replay import replay_run
from everlearn.runtime.folder.useful_settings import check_useful
from everlearn.settings import DECLARED, RunConfig, flatten_settings
from everlearn.stream.files.codes import CodesWriter
from everlearn.tasks.classification.closed_form import _closed_form_config
from everlearn.tasks.classification.gradient import gradient_record
from everlearn.tasks.translation.learner import _seq2seq_config, seq2seq_methods
from everlearn.types import Example

Settings = dict[str, Any]
WriteCodes = Callable[..., Path]

CONTEXTS: dict[str, Settings] = {
    "closed-form": {},
    "gradient": {"learner.kind": "gradient"},
    "lm": {"task": "lm"},
    "seq2seq": {"task": "seq2seq", "model.name": "any"},
}
OTHER_VALUES: Settings = {
    "stream.delimiter": ";",
    "stream.encoding": "cp1252",
    "stream.text_field": "other",
    "task": "lm",
    "model.layers": [1, 2],
    "learner.gradient.trainable": "encoder",
    "learner.gradient.methods": {"anchor": {}},
    "learner.memory_budget": 20_000_000,
    "run.keep_text": True,
    "learner.gradient.total_steps": 500,
}
"""Values other than the default, where one cannot be made up from the type."""

USELESS = {
    "closed-form": (
        "stream.documents stream.piece_bytes learner.gradient. learner.language. learner.vocabulary. "
        "learner.translation. run.text_days"
    ),
    "gradient": (
        "model.windows model.layers model.sketch_size model.adapter model.batch_invariant "
        "stream.documents stream.piece_bytes learner.memory_budget learner.closed_form. "
        "learner.language. learner.vocabulary. learner.translation."
    ),
    "lm": (
        "model.max_length model.windows model.layers model.sketch_size model.adapter model.batch_invariant "
        "stream.delay learner.memory_budget learner.closed_form. learner.translation. "
        "learner.gradient.max_classes learner.gradient.head_learning_rate learner.gradient.replayed "
        "guard.suspicious guard.confidence guard.leverage guard.weight guard.surprise guard.readmit"
    ),
    "seq2seq": (
        "model.max_length model.windows model.layers model.sketch_size model.adapter model.batch_invariant "
        "stream.documents stream.piece_bytes learner.memory_budget learner.closed_form. learner.language. "
        "learner.vocabulary. learner.gradient.max_classes learner.gradient.head_learning_rate "
        "guard.suspicious guard.confidence guard.leverage guard.weight guard.surprise guard.readmit"
    ),
}
ENABLING: dict[str, Settings] = {
    "guard.": {"guard.enabled": True},
    "guard.weight": {"guard.enabled": True, "guard.suspicious": "weigh"},
    "learner.gradient.momentum": {"learner.gradient.optimizer": "momentum"},
    "learner.gradient.total_steps": {
        "learner.gradient.schedule": "linear",
        "learner.gradient.total_steps": 99,
    },
    "learner.gradient.lora_": {"learner.gradient.trainable": "lora:0-1"},
    "learner.gradient.replay_share": {"learner.gradient.replay": 5},
    "learner.gradient.replayed": {"learner.gradient.replay": 5},
    "learner.vocabulary.": {"learner.vocabulary.words": 5},
    "run.text_days": {"run.keep_text": True},
}
"""What else it takes, beside task and learner."""


def _fields(model: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found |= _fields(kind, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = (kind, field.default)
    return found


FIELDS = _fields(RunConfig)


def _other_value(path: str) -> Any:
    """A valid value that is not the default."""
    if path in OTHER_VALUES:
        return OTHER_VALUES[path]
    kind, default = FIELDS[path]
    kinds = (
        [one for one in get_args(kind) if one is not type(None)] if type(None) in get_args(kind) else [kind]
    )
    if get_args(kinds[0]) and isinstance(get_args(kinds[0])[0], str):
        return next(one for one in reversed(get_args(kinds[0])) if one != default)
    if kinds[0] is bool:
        return not default
    if kinds[0] is str:
        return "other"
    for value in (7, 0.007, 128, 0.5, 7.5, 12, 5_000):
        try:
            RunConfig().with_settings({path: value})
        except ConfigError:
            continue
        if value != default:
            return value
    raise AssertionError(path)


def _enabled(path: str) -> Settings:
    if path in ("guard.enabled", "learner.vocabulary.words"):
        return {}
    fitting = [start for start in ENABLING if path.startswith(start)]
    return ENABLING[max(fitting, key=len)] if fitting else {}


def _is_in(path: str, names: str) -> bool:
    return any(path == one or (one.endswith(".") and path.startswith(one)) for one in names.split())


def _refusal(config: RunConfig, given: Settings) -> str | None:
    try:
        check_useful(config, given)
    except ConfigError as error:
        return str(error)
    return None


def test_every_setting_is_declared() -> None:
    assert set(DECLARED) == {path for path, _ in flatten_settings(RunConfig().to_mapping())} == set(FIELDS)
    for path, one in DECLARED.items():
        assert one.help, path
        assert one.setting.unit or one.type is bool, path


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("path", sorted(set(FIELDS) - {"task", "learner.kind", "model.name"}))
def test_a_setting_is_taken_where_it_has_an_effect_and_nowhere_else(context: str, path: str) -> None:
    given = {path: _other_value(path)}
    base = CONTEXTS[context]
    alone = _refusal(RunConfig().with_settings(base | given), given)
    enabled = _refusal(RunConfig().with_settings(base | _enabled(path) | given), given)
    is_useless = _is_in(path, USELESS[context]) and not (path == "run.text_days" and enabled is None)
    if is_useless:
        assert enabled is not None
        assert enabled.startswith(f"{path} has no effect where ")
    else:
        assert enabled is None
        if _enabled(path) and context != "lm" and not (path == "run.text_days" and context != "closed-form"):
            assert alone is not None
            assert alone.startswith(f"{path} has no effect where ")


@pytest.mark.parametrize(
    "path", [one for one in FIELDS if one.startswith("learner.") and one != "learner.kind"]
)
@pytest.mark.parametrize("context", ["closed-form", "gradient", "seq2seq"])
def test_what_is_taken_changes_the_learner(context: str, path: str) -> None:
    base = CONTEXTS[context] | _enabled(path)
    given = {path: _other_value(path)}
    config, before = RunConfig().with_settings(base | given), RunConfig().with_settings(base)
    if path == "learner.translation.bleu_tokenizer":  # it is the scores that it changes
        return
    changes = _learner_of(context, config) != _learner_of(context, before)
    assert changes == (_refusal(config, given) is None)


def _learner_of(context: str, config: RunConfig) -> Any:
    if context == "closed-form":
        return _closed_form_config(config)
    if context == "gradient":
        return gradient_record(config).config
    values = _seq2seq_config(config).to_json()
    for name in ("head_learning_rate", "max_classes"):  # of a head, which a translator has none of
        del values["optimization"][name]
    return values, seq2seq_methods(config)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (
            {"learner.gradient.learning_rate": 0.1},
            "learning_rate has no effect where learner.kind = 'closed-form'",
        ),
        ({"learner.gradient.methods": {"nosuch": {}}}, "methods has no effect where learner.kind"),
        (
            {
                "learner.kind": "gradient",
                "learner.gradient.trainable": "head",
                "learner.gradient.learning_rate": 1,
            },
            "learning_rate has no effect where learner.gradient.trainable = 'head'",
        ),
        (
            {"task": "lm", "learner.language.carry": "none", "learner.language.window": 5},
            "window has no effect where learner.language.carry = 'none'",
        ),
        (
            {"task": "lm", "learner.language.carry": "recurrent", "learner.language.sinks": 5},
            "sinks has no effect where learner.language.carry = 'recurrent'",
        ),
        (
            {"stream.order": "by-domain", "stream.experiences": 3},
            "experiences has no effect where stream.order",
        ),
        (
            {"guard.enabled": True, "guard.suspicious": "off", "guard.leverage": 2.0},
            "leverage has no effect where guard.suspicious = 'off'",
        ),
        ({"guard.seconds": 2.0}, "seconds has no effect where guard.enabled = False"),
        (
            {"run.text_days": 3.0, "run.keep_text": False},
            "text_days has no effect where run.keep_text = False",
        ),
        (
            {"learner.memory_budget": 20_000_000, "learner.closed_form.num_features": 4_096},
            "num_features has no effect where learner.memory_budget = 20000000",
        ),
        ({"learner.vocabulary.min_count": 3, "task": "lm"}, "no effect where learner.vocabulary.words = 0"),
    ],
)
def test_the_setting_that_stands_in_the_way_is_named(given: Settings, text: str) -> None:
    told = _refusal(RunConfig().with_settings(given), given)
    assert told is not None
    assert text in told


@pytest.mark.parametrize("carry", ["none", "recurrent"])
def test_no_window_is_true_without_context_too(carry: str) -> None:
    given = {"task": "lm", "learner.language.carry": carry, "learner.language.window": 0}
    assert _refusal(RunConfig().with_settings(given), given) is None


def test_one_option_for_both_learners_is_taken_by_each() -> None:
    given = {"learner.closed_form.max_classes": 5, "learner.gradient.max_classes": 5}
    for context in ("closed-form", "gradient"):
        assert _refusal(RunConfig().with_settings(CONTEXTS[context] | given), given) is None
    assert _refusal(RunConfig().with_settings({"task": "lm"} | given), given) is not None


def test_a_file_may_spell_defaults_out_but_nothing_else() -> None:
    spelled_out = dict(flatten_settings(RunConfig().to_mapping()))
    check_useful(RunConfig(), {}, spelled_out)
    with pytest.raises(ConfigError, match=r"learner\.language\.lanes has no effect"):
        check_useful(RunConfig(), {}, spelled_out | {"learner.language.lanes": 2})


def test_learn_and_replay_refuse_before_anything_is_made(
    tmp_path: Path, write_codes: WriteCodes, clustered: Callable[..., list[Example]], small: Settings
) -> None:
    stream = write_codes("a.parquet", clustered(60))
    useless = {"learner.gradient.optimizer": "sgd"}
    with pytest.raises(ConfigError, match=r"optimizer has no effect where learner\.kind = 'closed-form'"):
        learn_stream(LearnRequest(stream=str(stream), out=tmp_path / "run", settings=small | useless))
    assert not (tmp_path / "run").exists()
    learn_stream(LearnRequest(stream=str(stream), out=tmp_path / "run", settings=small))
    with pytest.raises(ConfigError, match=r"optimizer has no effect where learner\.kind = 'closed-form'"):
        replay_run(tmp_path / "run", useless)
    for setting in ("learner.closed_form.max_classes", "stream.batch_size", "guard.every", "run.text_days"):
        with pytest.raises(ConfigError, match=rf"{setting} has no effect on a replay"):
            replay_run(tmp_path / "run", {setting: 2})
    # A limit that the run has for what comes in next stands in no replay's way.
    again = LearnRequest(
        stream=str(stream), out=tmp_path / "run", settings={"learner.closed_form.max_classes": 1}
    )
    fingerprint = learn_stream(again).summary["fingerprint"]
    assert replay_run(tmp_path / "run", {}).fingerprint == fingerprint
    with pytest.raises(ConfigError, match=r"text_days has no effect where run\.keep_text = False"):
        learn_stream(LearnRequest(stream=str(stream), out=tmp_path / "run", settings={"run.text_days": 3}))


def test_days_of_texts_that_are_there_have_an_effect(
    tmp_path: Path, write_codes: WriteCodes, clustered: Callable[..., list[Example]], small: Settings
) -> None:
    first, second = write_codes("a.parquet", clustered(40)), write_codes("b.parquet", clustered(40, start=40))
    run = tmp_path / "run"
    learn_stream(LearnRequest(stream=str(first), out=run, settings=small | {"run.keep_text": True}))
    given = {"run.keep_text": False, "run.text_days": 0}
    assert learn_stream(LearnRequest(stream=str(second), out=run, settings=given)).summary["learned"] == 80


def test_a_codes_file_says_how_it_was_encoded(
    tmp_path: Path, clustered: Callable[..., list[Example]], small: Settings
) -> None:
    path = tmp_path / "codes.parquet"
    made_with = {
        "max_length": 256,
        "windows": 1,
        "layers": [1, 3],
        "dtype": "float32",
        "batch_invariant": False,
    }
    with CodesWriter(path, coder_fingerprint="c", coder_config=made_with, dense_size=24) as writer:
        writer.write(clustered(20))
    others: Settings = {
        "model.max_length": 64,
        "model.windows": 2,
        "model.layers": [1, 2],
        "model.dtype": "bfloat16",
        "model.batch_invariant": True,
        "stream.text_field": "body",
        "stream.max_record_bytes": 500,
    }
    for setting, value in others.items():
        with pytest.raises(ConfigError, match=rf"{setting}.* has no effect where the stream is .*codes"):
            learn_stream(
                LearnRequest(stream=str(path), out=tmp_path / "run", settings=small | {setting: value})
            )
    config = tmp_path / "settings.yaml"
    config.write_text(json.dumps({"stream": {"text_field": "text"}, "model": {"max_length": 256}}))
    same = small | {"model.max_length": 256, "model.layers": [1, 3], "model.dtype": "auto"}
    request = LearnRequest(stream=str(path), out=tmp_path / "run", settings=same, config_file=config)
    assert learn_stream(request).summary["learned"] == 20
