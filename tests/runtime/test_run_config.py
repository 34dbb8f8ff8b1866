from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.errors import ConfigError
from everlearn.learning.closed_form import ClosedFormConfig
from everlearn.learning.gradient import GradientConfig
from everlearn.learning.gradient.stability import StabilityConfig
from everlearn.runtime.folder.run_settings import settings_in_file
from everlearn.settings import ClosedFormSettings, GradientSettings, RunConfig, flatten_settings


@given(
    seed=st.integers(0, 2**63 - 1),
    max_length=st.integers(8, 32_768),
    text_field=st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1),
    rate=st.none() | st.floats(1e-9, 1e3),
)
def test_yaml_round_trip(seed: int, max_length: int, text_field: str, rate: float | None) -> None:
    config = RunConfig().with_settings(
        {
            "seed": seed,
            "model.max_length": max_length,
            "stream.text_field": text_field,
            "learner.gradient.learning_rate": rate,
        }
    )
    assert RunConfig.from_yaml(config.to_yaml()) == config
    assert dict(flatten_settings(config.to_mapping()))["model.max_length"] == max_length


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"modle": {}}, "unknown setting modle"),
        ({"model": {"max_lenght": 64}}, "unknown setting model.max_lenght"),
        ({"stream": {"batch_size": 0}}, "stream.batch_size = 0: "),
        ({"stream": {"order": "by-color"}}, "stream.order = 'by-color': "),
        ({"learner": {"closed_form": {"num_features": "many"}}}, "learner.closed_form.num_features = 'many'"),
        (["seed"], "expected settings by name"),
    ],
)
def test_wrong_settings_are_named(values: Any, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        RunConfig.from_mapping(values, place="run.yaml")
    assert str(caught.value).startswith("run.yaml: ")
    assert expected in str(caught.value)


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        RunConfig.from_mapping({"seed": -1, "run": {"thread": 1}})
    assert "seed = -1" in str(caught.value)
    assert "unknown setting run.thread" in str(caught.value)


def test_with_settings_refuses_unknown_paths() -> None:
    with pytest.raises(ConfigError, match=r"unknown setting model\.depth"):
        RunConfig().with_settings({"model.depth": 3})
    with pytest.raises(ConfigError, match=r"no such setting: seed\.x"):
        RunConfig().with_settings({"seed.x": 3})


def test_damaged_or_missing_yaml(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not YAML"):
        RunConfig.from_yaml("a: [")
    with pytest.raises(ConfigError, match="cannot read the settings"):
        RunConfig.from_file(tmp_path / "none.yaml")


def test_given_settings_are_only_those_written_down(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("model: {max_length: 64}\nseed: 3\n", encoding="utf-8")
    assert settings_in_file(path) == {"model.max_length": 64, "seed": 3}
    assert RunConfig.from_yaml("") == RunConfig()


def test_learner_settings_name_fields_of_the_learners_own_configuration() -> None:
    assert set(ClosedFormSettings.model_fields) <= set(ClosedFormConfig.model_fields)
    of_methods = {"replay", "replayed", "replay_share", "methods"}
    known = set(GradientConfig.model_fields) | set(StabilityConfig.model_fields)
    assert set(GradientSettings.model_fields) - of_methods <= known
