"""Runs, and tenants of a hub, that read texts with an adapter of their own."""

from __future__ import annotations

import gc
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.runtime.hub.tenants import hub_settings, same, some, write_own_adapter
from tests.runtime.word_pairs import write_encoder
from typer.testing import CliRunner

from everlearn import Hub, Run
from everlearn.cli.app import app
from everlearn.errors import ConfigError, ModelError, RunError
from everlearn.models.encoder.adapter_pool import AdapterPool
from everlearn.runtime.history.merge import merge_runs
from everlearn.runtime.hub.reader import HubReader
from everlearn.types import Example, Prediction

TENANTS = ("plain", "soft", "hard")
"""Without adapter, with one of two layers, with one of all linear layers."""


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {**hub_settings(tmp_path_factory.mktemp("adapters")), "model.dtype": "float32"}


@pytest.fixture(scope="module")
def adapters(options: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``soft/`` and ``hard/``."""
    folder = tmp_path_factory.mktemp("given")
    write_own_adapter(folder / "soft", options, seed=1, rank=2, targets=("query", "value"))
    write_own_adapter(folder / "hard", options, seed=2, rank=5, targets=("query", "key", "value", "dense"))
    return folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def own(tenant: str, adapters: Path) -> dict[str, Any]:
    return {} if tenant == "plain" else {"model.adapter": str(adapters / tenant)}


def filled_hub(path: Path, options: dict[str, Any], adapters: Path, **how: Any) -> Hub:
    hub = Hub.open(path, options, **how)
    for tenant in TENANTS:
        hub.add(tenant, own(tenant, adapters))
        hub.learn(tenant, some(tenant, 0, 30))
    return hub


def close_to(one: Prediction, other: Prediction) -> bool:
    """Equal but for what rounding a code can change."""
    return one.labels == other.labels and bool(np.allclose(one.probabilities, other.probabilities, atol=0.02))


def test_tenants_of_one_batch_are_each_as_if_alone(
    tmp_path: Path, options: dict[str, Any], adapters: Path
) -> None:
    texts = [f"w{k} w{k + 3} w7 left0" for k in range(12)]
    asked: list[tuple[str, Example | str]] = [(TENANTS[k % 3], text) for k, text in enumerate(texts)]
    with filled_hub(tmp_path / "hub", options, adapters) as hub:
        said = hub.predict(asked)
        fingerprints = {}
        for tenant in TENANTS:
            with hub.run(tenant) as run:
                fingerprints[tenant] = run.fingerprint()
    for tenant in TENANTS:
        settings = {**options, **own(tenant, adapters)}
        # As in a hub: to the bit. With an adapter that is merged into weights: but for rounding.
        with Run.open(tmp_path / "alone" / tenant, settings, models=AdapterPool()) as run:
            run.learn(some(tenant, 0, 30))
            assert run.fingerprint() == fingerprints[tenant]
            expected = run.predict(texts)
        with Run.open(tmp_path / "merged" / tenant, settings) as run:
            run.learn(some(tenant, 0, 30))
            merged = run.predict(texts)
        for k, prediction in enumerate(said):
            if asked[k][0] == tenant:
                assert same(prediction, expected[k])
                assert close_to(prediction, merged[k])
    # Adapters make a difference, or the above would show nothing.
    assert len(set(fingerprints.values())) == 3


def test_mixed_passes_say_what_fixed_ones_say(
    tmp_path: Path, options: dict[str, Any], adapters: Path
) -> None:
    packed = {**options, "model.batch_invariant": False}
    asked: list[tuple[str, Example | str]] = [(TENANTS[k % 3], f"w{k} w{k + 3} w7") for k in range(9)]
    with (
        filled_hub(tmp_path / "fixed", options, adapters) as fixed,
        filled_hub(tmp_path / "packed", packed, adapters) as hub,
    ):
        for one, other in zip(hub.predict(asked), fixed.predict(asked), strict=True):
            assert close_to(one, other)


def test_an_adapter_is_in_memory_while_its_tenant_is(
    tmp_path: Path, options: dict[str, Any], adapters: Path
) -> None:
    with filled_hub(tmp_path / "hub", options, adapters):
        pass
    with Hub.open(tmp_path / "hub", memory_budget_mb=0.12) as hub:  # for one of them
        for tenant in (*TENANTS, *TENANTS):
            hub.predict([(tenant, "w1 w2")])
            assert len(hub._heads) <= 1
        gc.collect()
        (held,) = hub.models._banks.values()
        held._drop_left()
        assert len(held.bank) == 1
        # The encoder is there once, whatever adapters it is used with.
        assert len(hub.models._trunks) == 1


def test_prediction_processes_and_readers_use_adapters(
    tmp_path: Path, options: dict[str, Any], adapters: Path
) -> None:
    texts = ["w1 w2 left0", "w9 w8"]
    asked: list[tuple[str, Example | str]] = [(tenant, text) for tenant in TENANTS for text in texts]
    with filled_hub(tmp_path / "hub", options, adapters) as hub:
        expected = hub.predict(asked)
    for one, other in zip(HubReader(tmp_path / "hub").predict(asked), expected, strict=True):
        assert same(one, other)
    with Hub.open(tmp_path / "hub", processes=1) as hub:
        for one, other in zip(hub.predict(asked), expected, strict=True):
            assert close_to(one, other)  # by one thread


def test_what_was_given_may_go_and_a_hub_may_move(
    tmp_path: Path, options: dict[str, Any], adapters: Path
) -> None:
    given = tmp_path / "given"
    shutil.copytree(adapters, given)
    with Hub.open(tmp_path / "hub", options) as hub:
        hub.add("soft", own("soft", given))
    shutil.rmtree(given)
    (tmp_path / "hub").rename(tmp_path / "moved")
    with Hub.open(tmp_path / "moved") as hub:
        hub.learn("soft", some("soft", 0, 30))
        expected = hub.predict([("soft", "w1 w2")])
        hub.remove("soft")
        assert not list((tmp_path / "moved" / "tenants").iterdir())
        hub.add("soft", own("soft", adapters))
        hub.learn("soft", some("soft", 0, 30))
        assert same(hub.predict([("soft", "w1 w2")])[0], expected[0])
        # Another tenant of the same name, while somebody still has what the first one read with.
        with hub.run("soft") as run:
            coder = run.predictor().coder
            assert coder is not None
            kept = coder.text_coder()
        hub.remove("soft")
        hub.add("soft", own("hard", adapters))
        hub.learn("soft", some("soft", 0, 30))
        assert not same(hub.predict([("soft", "w1 w2")])[0], expected[0])
        assert kept.encode(["w1 w2"])


def test_a_run_keeps_its_adapter(tmp_path: Path, options: dict[str, Any], adapters: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(adapters / "hard", moved)
    settings = {**options, "model.adapter": str(moved)}
    with Run.open(tmp_path / "run", settings) as run:
        run.learn(some("hard", 0, 20))
        expected = run.predict(["w1 w2 w3"])
    with Run.open(tmp_path / "plain", options) as run:
        run.learn(some("hard", 0, 20))
        assert not same(run.predict(["w1 w2 w3"])[0], expected[0])
    shutil.rmtree(moved)
    with Run.open(tmp_path / "run") as run:
        assert same(run.predict(["w1 w2 w3"])[0], expected[0])
    # The same at another place goes on; another one, or one where there was none, does not.
    with Run.open(tmp_path / "run", {"model.adapter": str(adapters / "hard")}) as run:
        run.learn(some("hard", 20, 5))
    with pytest.raises(RunError, match="was made with another adapter"):
        Run.open(tmp_path / "run", {"model.adapter": str(adapters / "soft")})
    with pytest.raises(RunError, match="was made without an adapter"):
        Run.open(tmp_path / "plain", {"model.adapter": str(adapters / "soft")})


def test_runs_with_one_adapter_are_merged(tmp_path: Path, options: dict[str, Any], adapters: Path) -> None:
    settings = {**options, "model.adapter": str(adapters / "soft")}
    for k in range(2):
        with Run.open(tmp_path / f"run{k}", settings) as run:
            run.learn(some("soft", 20 * k, 20))
    with Run.open(tmp_path / "whole", settings) as run:
        run.learn(some("soft", 0, 40))
        expected = run.fingerprint()
    merge_runs([tmp_path / "run0", tmp_path / "run1"], tmp_path / "merged")
    with Run.open(tmp_path / "merged") as run:
        assert run.fingerprint() == expected
        run.learn([Example(id="one-more", text="w1 w2", target="bill")])
    with Run.open(tmp_path / "plain", options) as run:
        run.learn(some("soft", 50, 20))
    with pytest.raises(RunError, match="how texts were encoded"):
        merge_runs([tmp_path / "run0", tmp_path / "plain"], tmp_path / "never")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ("nothing there", r"the adapter's folder .*bad does not exist"),
        ("a file", r"bad is a file; give the folder"),
        ("empty", r"bad holds no adapter of peft's format: adapter_config.json is missing"),
        ("half of it", r"the adapter in .*bad lacks encoder.layer.0.attention.self.query.lora_B"),
        ("other layers", "it is of another model, one with a layer"),
        ("other sizes", "has 32 inputs and 32 outputs"),
        ("no numbers", r"the adapter in .*bad has numbers in .* that are not finite"),
        ("not plain", "no plain LoRA adapter: use_dora is set"),
        ("damaged", r"cannot be read: adapter_model\.safetensors: "),
    ],
)
def test_bad_adapters_are_refused_and_harm_nobody(
    tmp_path: Path, options: dict[str, Any], adapters: Path, spoil: str, message: str
) -> None:
    bad = tmp_path / "bad"
    shutil.copytree(adapters / "soft", bad)
    spoiled(bad, spoil)
    with filled_hub(tmp_path / "hub", options, adapters) as hub:
        before = hub.predict([("soft", "w1 w2")])
        with pytest.raises(ModelError, match=message):
            hub.add("new", {"model.adapter": str(bad)})
        assert hub.tenants() == sorted(TENANTS)
        hub.add("new")  # the name is free still
        assert same(hub.predict([("soft", "w1 w2")])[0], before[0])
    with pytest.raises(ModelError, match=message):
        Run.open(tmp_path / "run", {**options, "model.adapter": str(bad)}).learn(some("run", 0, 5))
    assert not (tmp_path / "run" / "run.json").exists()


def spoiled(folder: Path, how: str) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "adapter_model.safetensors")
    first = sorted(weights)[0]  # the A of a query
    if how in ("nothing there", "a file", "empty"):
        shutil.rmtree(folder)
        if how == "a file":
            folder.write_text("text")
        elif how == "empty":
            folder.mkdir()
        return
    if how == "damaged":
        data = (folder / "adapter_model.safetensors").read_bytes()
        (folder / "adapter_model.safetensors").write_bytes(data[: len(data) // 2])
        return
    if how == "not plain":
        settings = json.loads((folder / "adapter_config.json").read_text())
        (folder / "adapter_config.json").write_text(json.dumps({**settings, "use_dora": True}))
        return
    if how == "other layers":
        weights = {name.replace("encoder.layer.1", "encoder.layer.7"): one for name, one in weights.items()}
    elif how == "other sizes":
        weights[first] = torch.zeros(2, 48)
    elif how == "half of it":
        del weights[first.replace("lora_A", "lora_B")]
    elif how == "no numbers":
        weights[first][0, 0] = torch.nan
    save_file(weights, folder / "adapter_model.safetensors", {"format": "pt"})


def test_an_adapter_is_of_a_tenant_not_of_the_hub(
    tmp_path: Path, options: dict[str, Any], adapters: Path
) -> None:
    with pytest.raises(ConfigError, match="an adapter is a tenant's own"):
        Hub.open(tmp_path / "hub", {**options, "model.adapter": str(adapters / "soft")})
    assert not (tmp_path / "hub").exists()


def test_on_the_command_line(tmp_path: Path, adapters: Path, options: dict[str, Any]) -> None:
    program, hub = CliRunner(), str(tmp_path / "hub")
    encoder = str(write_encoder(tmp_path / "encoder"))  # with the weights of the other: seeds are alike
    stream = tmp_path / "soft.jsonl"
    lines = [{"id": one.id, "text": one.text, "label": one.target} for one in some("soft", 0, 40)]
    stream.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for command in (
        ["hub", "add", hub, "soft", "--model", encoder, "--adapter", str(adapters / "soft")],
        ["hub", "add", hub, "plain"],
        ["hub", "learn", hub, "soft", str(stream)],
        ["hub", "learn", hub, "plain", str(stream)],
    ):
        result = program.invoke(app, command)
        assert result.exit_code == 0, result.output
    said = []
    for tenant in ("soft", "plain"):
        result = program.invoke(app, ["hub", "predict", hub, tenant, "w1 w2 left0", "--json"])
        assert result.exit_code == 0, result.output
        said.append(json.loads(result.output))
    assert said[0] != said[1]
    result = program.invoke(app, ["hub", "predict", hub, "soft", "--file", str(stream), "--json"])
    assert result.exit_code == 0, result.output
    assert len(result.output.splitlines()) == 40
    result = program.invoke(app, ["hub", "add", hub, "bad", "--adapter", str(tmp_path / "none")])
    assert result.exit_code == 4
    result = program.invoke(app, ["hub", "predict", hub, "soft", "w1", "--file", str(stream)])
    assert result.exit_code == 2


def test_an_adapter_that_was_damaged_harms_no_other_tenant(
    tmp_path: Path, options: dict[str, Any], adapters: Path
) -> None:
    with filled_hub(tmp_path / "hub", options, adapters) as hub:
        expected = hub.predict([("hard", "w1 w2"), ("plain", "w1 w2")])
        kept = hub.run_folder("soft") / "trunks" / "generation-0000" / "adapter_model.safetensors"
    kept.write_bytes(kept.read_bytes()[:200])
    with Hub.open(tmp_path / "hub") as hub:
        with pytest.raises(ModelError, match=r"runs/soft/trunks/generation-0000 cannot be read"):
            hub.predict([("soft", "w1 w2")])
        said = hub.predict([("hard", "w1 w2"), ("plain", "w1 w2")])
        assert all(same(one, other) for one, other in zip(said, expected, strict=True))
        # What was learned is not lost with it: codes are in the journal.
        shutil.copyfile(adapters / "soft" / kept.name, kept)
        assert hub.predict([("soft", "w1 w2")])[0].label is not None
