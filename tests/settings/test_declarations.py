"""A setting is declared once: what is made from the declarations agrees with them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from everlearn.context import CarryConfig
from everlearn.errors import ConfigError
from everlearn.learning.closed_form import ClosedFormConfig
from everlearn.learning.consolidation import ConsolidationConfig
from everlearn.learning.gradient import GradientConfig, StabilityConfig
from everlearn.learning.language import LanguageConfig, VocabularyConfig
from everlearn.learning.seq2seq import Seq2SeqConfig
from everlearn.settings import DECLARED, LanguageSettings, RunConfig, TranslationSettings, flatten_settings
from everlearn.settings.learner_config import LearnerConfig
from everlearn.settings.units import UNITS

CONFIGS: list[LearnerConfig] = [
    ClosedFormConfig.of_size(128),
    ConsolidationConfig(epochs=2),
    GradientConfig(betas=(0.8, 0.9), trainable="lora:0-1", lora_modules=("q", "v"), max_gradient_norm=None),
    StabilityConfig(average_decay=0.99),
    VocabularyConfig(words=3),
    CarryConfig(window=None),
    LanguageConfig(num_lanes=2, optimization=GradientConfig(trainable="lora")),
    Seq2SeqConfig(num_beams=4, source_language="en"),
]

_WORDS = ("KIND", "ORDER", "PART", "POLICY", "TASK", "TYPE")
"""Units that the option's own text lists."""


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)
def test_a_configuration_comes_back_from_its_json(config: LearnerConfig) -> None:
    kept = json.loads(json.dumps(config.to_json()))
    assert type(config).from_json(kept) == config
    assert config.replace() == config
    with pytest.raises(ConfigError, match="nonsense"):
        type(config).from_json({**kept, "nonsense": 1})


def test_a_setting_of_another_name_has_the_same_default_and_range() -> None:
    assert LanguageConfig().num_lanes == LanguageSettings().lanes
    assert Seq2SeqConfig().num_beams == TranslationSettings().beams
    with pytest.raises(ConfigError, match="num_lanes must be at most 4096, not 5000"):
        LanguageConfig(num_lanes=5_000)


def test_null_is_the_default_as_runs_have_it_that_named_none() -> None:
    values = {path: None for path, _ in flatten_settings(RunConfig().to_mapping())}
    assert RunConfig().with_settings(values) == RunConfig()


def test_a_new_run_has_the_defaults_of_its_task() -> None:
    own: dict[str, dict[str, Any]] = {
        "lm": {"model.name": "smollm2", "stream.batch_size": 4, "guard.every": 1_000},
        "seq2seq": {"stream.batch_size": 32, "guard.tolerance": 0.02},
        "classify": {"model.name": "minilm"},
    }
    for task, expected in own.items():
        assert expected.items() <= RunConfig(task=task).own_defaults.items()
    with pytest.raises(ConfigError, match="no encoder-decoder comes with everlearn"):
        assert RunConfig(task="seq2seq").model_name


def test_no_option_stands_for_two_things() -> None:
    flags: dict[str, set[str]] = {}
    for path, one in DECLARED.items():
        assert one.setting.unit in UNITS or one.setting.unit in {"", *_WORDS}, path
        if one.setting.flag:
            flags.setdefault(one.setting.flag, set()).add(path.rpartition(".")[2])
    assert [flag for flag, names in flags.items() if len(names) > 1] == []
