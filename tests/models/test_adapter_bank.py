"""Adapters by row: what each text gets is what its adapter alone would give, and peft's own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tests.runtime.word_pairs import write_encoder

from everlearn.errors import ModelError
from everlearn.models import CoderConfig, TextCoder, load_trunk
from everlearn.models.encoder.adapted_coder import AdaptedCoder
from everlearn.models.encoder.adapter_bank import AdapterBank
from everlearn.models.encoder.load import Trunk
from everlearn.models.storage.adapters import Adapter, merge_adapter, read_adapter, write_adapter
from everlearn.models.storage.skeleton import structural_copy

QUERY_VALUE = ["query", "value"]
ALL_LINEAR = ["query", "key", "value", "dense"]
TEXTS = ["w1 w2 left0", "w5", "w3 w4 right1 w9 w8 w7 w2", "left1 w3", "w20 w21 w22 w23 w24", "", "w7 w8"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("bank") / "encoder")


@pytest.fixture(scope="module")
def trunk(folder: Path) -> Trunk:
    return load_trunk(str(folder), dtype="float32", device="cpu")


def adapter_of(trunk: Trunk, seed: int, rank: int = 4, targets: list[str] = QUERY_VALUE) -> Adapter:
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, module in trunk.model.named_modules():
        if isinstance(module, torch.nn.Linear) and name.split(".")[-1] in targets and "pooler" not in name:
            for part, shape in (("A", (rank, module.in_features)), ("B", (module.out_features, rank))):
                tensors[f"{name}.lora_{part}"] = 0.3 * torch.randn(shape, generator=generator)
    return Adapter(tensors, 0.5 + seed)


def alone(folder: Path, adapter: Adapter | None, texts: list[str], config: CoderConfig) -> torch.Tensor:
    """By merged weights, one text after the other."""
    base = load_trunk(str(folder), dtype="float32", device="cpu")
    if adapter is not None:
        base = merge_adapter(base, adapter, torch.float32)
    coder = TextCoder(base, config)
    return torch.cat([coder.pool([text]) for text in texts])


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft asks for it
@pytest.mark.parametrize(
    "options",
    [
        {"r": 4, "lora_alpha": 8, "target_modules": QUERY_VALUE},
        {"r": 8, "lora_alpha": 4, "target_modules": ALL_LINEAR, "exclude_modules": "pooler.*"},
        {"r": 4, "lora_alpha": 8, "target_modules": QUERY_VALUE, "use_rslora": True},
        {
            "r": 4,
            "lora_alpha": 8,
            "target_modules": QUERY_VALUE,
            "rank_pattern": {"layer.1.attention.self.value": 2, "query": 6},
            "alpha_pattern": {"query": 3},
        },
    ],
)
def test_an_adapter_that_peft_wrote(folder: Path, trunk: Trunk, tmp_path: Path, options: Any) -> None:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    model = get_peft_model(structural_copy(trunk.model), LoraConfig(**options, init_lora_weights=False))
    model.eval()
    model.save_pretrained(str(tmp_path))
    adapter = read_adapter(tmp_path)
    bank = AdapterBank(trunk)
    bank.add("a", adapter)
    ids = torch.arange(4, 30)[None]
    with torch.inference_mode():
        expected = model(input_ids=ids)[0]
        with bank.using("a"):
            found = bank.trunk.model(input_ids=ids)[0]
        with bank.using_by_row(["a"]):
            by_row = bank.trunk.model(input_ids=ids)[0]
        plain = trunk.model(input_ids=ids)[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(by_row, expected, rtol=0, atol=1e-5)
    assert float((plain - expected).abs().max()) > 0.05
    # Written by us it is read again, and peft reads it, too.
    (tmp_path / "again").mkdir()
    write_adapter(tmp_path / "again", adapter, "encoder")
    assert read_adapter(tmp_path / "again").sha256() == adapter.sha256()
    from peft import PeftModel

    again: Any = PeftModel.from_pretrained(structural_copy(trunk.model), str(tmp_path / "again")).eval()
    with torch.inference_mode():
        torch.testing.assert_close(again(input_ids=ids)[0], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "config", [CoderConfig(), CoderConfig(max_length=5, windows=3), CoderConfig(batch_invariant=True)]
)
@pytest.mark.parametrize("num_adapters", [1, 2, 7])
def test_every_text_gets_what_its_adapter_alone_gives(
    folder: Path, trunk: Trunk, config: CoderConfig, num_adapters: int
) -> None:
    adapters = {
        f"a{k}": adapter_of(trunk, k, rank=1 + k, targets=ALL_LINEAR if k % 2 else QUERY_VALUE)
        for k in range(num_adapters)
    }
    bank = AdapterBank(trunk)
    for name, adapter in adapters.items():
        bank.add(name, adapter)
    names = [None if k % 4 == 3 else f"a{k % num_adapters}" for k in range(14)]
    texts = (TEXTS * 2)[:14]
    coder = AdaptedCoder(bank, config)
    found = coder._pool_each(texts, names)
    for k, (text, used) in enumerate(zip(texts, names, strict=True)):
        expected = alone(folder, None if used is None else adapters[used], [text], config)[0]
        torch.testing.assert_close(found[k], expected, rtol=0, atol=1e-4)
    assert [code.dense.shape for code in coder.encode_each(texts, names)] == [(coder.dense_size,)] * 14


def test_texts_without_adapter_are_as_if_there_were_none(trunk: Trunk) -> None:
    bank = AdapterBank(trunk)
    for k in range(6):
        bank.add(f"a{k}", adapter_of(trunk, k, targets=ALL_LINEAR))
    coder = AdaptedCoder(bank)
    texts = [f"w{k} w{k + 1} left0 w3" for k in range(12)]
    names = [f"a{k // 2}" if k % 2 else None for k in range(12)]
    mixed = coder._pool_mixed(texts, names)
    plain = coder._pool_mixed(texts, [None] * 12)
    for k, name in enumerate(names):
        assert torch.equal(mixed[k], plain[k]) == (name is None)


@settings(max_examples=25)
@given(
    acts=st.lists(
        st.tuples(st.sampled_from(["add", "remove"]), st.integers(0, 5), st.integers(1, 6)), max_size=14
    )
)
def test_adapters_come_and_go(trunk: Trunk, folder: Path, acts: list[tuple[str, int, int]]) -> None:
    bank, held = AdapterBank(trunk), dict[str, Adapter]()
    ids = torch.arange(4, 16)[None]
    for number, (act, key, rank) in enumerate(acts):
        if act == "add":
            adapter = adapter_of(trunk, key, rank, ALL_LINEAR if rank % 2 else QUERY_VALUE)
            bank.add(f"{key}.{number}", adapter)
            held[f"{key}.{number}"] = adapter
        elif held:
            name = sorted(held)[key % len(held)]
            bank.remove(name)
            del held[name]
    assert len(bank) == len(held)
    names: list[str | None] = [None, *sorted(held)]
    with torch.inference_mode(), bank.using_by_row(names):
        mixed = bank.trunk.model(input_ids=ids.expand(len(names), -1))[0]
    for row, used in enumerate(names):
        model = load_trunk(str(folder), dtype="float32", device="cpu")
        if used is not None:
            model = merge_adapter(model, held[used], torch.float32)
        with torch.inference_mode():
            torch.testing.assert_close(mixed[row], model.model(input_ids=ids)[0][0], rtol=0, atol=1e-4)


def test_the_trunk_is_shared_and_stays_as_it_is(trunk: Trunk) -> None:
    before = TextCoder(trunk).encode(TEXTS)
    bank = AdapterBank(trunk)
    bank.add("a", adapter_of(trunk, 1))
    own = {parameter.data_ptr() for parameter in trunk.model.parameters()}
    assert {parameter.data_ptr() for parameter in bank.trunk.model.parameters()} == own
    for one, other in zip(TextCoder(trunk).encode(TEXTS), before, strict=True):
        assert np.array_equal(one.dense, other.dense)
    for one, other in zip(AdaptedCoder(bank).encode(TEXTS), before, strict=True):
        assert np.array_equal(one.dense, other.dense)


def test_what_does_not_fit_is_told(trunk: Trunk) -> None:
    bank, fitting = AdapterBank(trunk), adapter_of(trunk, 1)
    layer = fitting.layers[0]
    other = replace(fitting, tensors={f"decoder.{name}": one for name, one in fitting.tensors.items()})
    with pytest.raises(ModelError, match="it is of another model, one with a layer decoder"):
        bank.add("a", other)
    wide = {**fitting.tensors, f"{layer}.lora_A": torch.zeros(4, 99)}
    with pytest.raises(ModelError, match=r"has 32 inputs and 32 outputs, A is \(4, 99\)"):
        bank.add("a", Adapter(wide))
    broken = {**fitting.tensors, f"{layer}.lora_B": torch.full((32, 4), torch.nan)}
    with pytest.raises(ModelError, match="not finite"):
        bank.add("a", Adapter(broken))
    assert len(bank) == 0
    bank.add("a", fitting)
    with pytest.raises(ModelError, match="held already"):
        bank.add("a", fitting)
    with pytest.raises(KeyError):
        AdaptedCoder(bank).encode_each(["w1"], ["b"])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"peft_type": "IA3"}, "no plain LoRA"),
        ({"use_dora": True}, "no plain LoRA"),
        ({"modules_to_save": ["classifier"]}, "no plain LoRA"),
        ({"r": 0}, "cannot be read"),
        ({"rank_pattern": {"(": 3}}, "cannot be read"),
        ({"lora_alpha": "much"}, "cannot be read"),
    ],
)
def test_adapters_of_other_kinds_are_refused(
    trunk: Trunk, tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    write_adapter(tmp_path, adapter_of(trunk, 1), "encoder")
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ModelError, match=told):
        read_adapter(tmp_path)


def test_half_an_adapter_is_refused(trunk: Trunk, tmp_path: Path) -> None:
    write_adapter(tmp_path, adapter_of(trunk, 1), "encoder")
    path = tmp_path / "adapter_model.safetensors"
    tensors = load_file(path)
    save_file(dict(list(tensors.items())[1:]), path)
    with pytest.raises(ModelError, match="no plain LoRA adapter: it has"):
        read_adapter(tmp_path)
