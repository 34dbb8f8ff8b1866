"""Models whose layers share weights: begun as near as can be, in memory once, loaded as any other model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.models.tiny_models import byte_level_tokenizer
from tests.runtime.word_pairs import write_encoder
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from everlearn.errors import ConfigError, ModelError
from everlearn.models import CoderConfig, TextCoder, load_trunk
from everlearn.models.language.causal import load_language_model
from everlearn.models.storage.adapters import Adapter, merge_adapter
from everlearn.models.tying.folder import save_tied
from everlearn.models.tying.shared_linear import SharedLinear
from everlearn.models.tying.structure import Tying, layer_stack, tying_of
from everlearn.models.tying.tie import layer_bytes, tied
from everlearn.sharing.trunk_store import TrunkStore

_SIZES: dict[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 32,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}
_LANGUAGE: dict[str, dict[str, Any]] = {
    "llama": {**_SIZES, "num_key_value_heads": 2},
    "qwen3": {**_SIZES, "num_key_value_heads": 2, "head_dim": 8},
    "opt": {**_SIZES, "ffn_dim": 48, "word_embed_proj_dim": 32},
}


def model_of(kind: str, auto_class: Any = AutoModel, **others: Any) -> Any:
    torch.manual_seed(1)
    config = AutoConfig.for_model(kind, **{**_SIZES, **others})
    return auto_class.from_config(config).eval()


def said(model: Any) -> torch.Tensor:
    ids = torch.arange(5, 25).reshape(2, 10)
    with torch.inference_mode():
        return torch.as_tensor(model(input_ids=ids)[0])


@given(num_layers=st.integers(1, 40), data=st.data())
def test_even_groups(num_layers: int, data: st.DataObject) -> None:
    unique = data.draw(st.integers(1, num_layers))
    tying = Tying.even(num_layers, unique, 0)
    sizes = [len(tying.members(group)) for group in range(unique)]
    assert sum(sizes) == num_layers
    assert max(sizes) - min(sizes) <= 1
    assert tying.num_unique == unique


@pytest.mark.parametrize("kind", ["bert", "roberta", "electra", "deberta-v2"])
@pytest.mark.parametrize("start", ["mean", "first", "middle"])
def test_of_full_rank_nothing_is_lost(kind: str, start: Any) -> None:
    model = model_of(kind)
    for rank in (32, 40):  # more than there is
        made = tied(model, Tying.even(6, 2, rank), start)
        torch.testing.assert_close(said(made), said(model), rtol=0, atol=2e-5)
    assert tying_of(made.config) == Tying((0, 0, 0, 1, 1, 1), 40)
    assert tying_of(model.config) is None


def test_a_higher_rank_loses_less_and_layers_by_themselves_nothing() -> None:
    model = model_of("bert")
    apart = [
        float((said(tied(model, Tying.even(6, 3, r))) - said(model)).square().sum()) for r in (0, 4, 16, 32)
    ]
    assert apart == sorted(apart, reverse=True)
    assert torch.equal(said(tied(model, Tying.even(6, 6, 8))), said(model))


@pytest.mark.parametrize("unique", range(1, 7))
def test_groups_of_uneven_size(unique: int, tmp_path: Path) -> None:
    model = model_of("bert")
    made = tied(model, Tying.even(6, unique, 2))
    assert len(layer_stack(made)) == 6
    assert layer_bytes(made) <= layer_bytes(model) * (unique / 6 + 0.4)
    save_tied(tmp_path, made, byte_level_tokenizer())
    loaded = load_trunk(str(tmp_path), dtype="float32").model
    torch.testing.assert_close(said(loaded), said(made), rtol=0, atol=0)


def test_shares_are_one_parameter() -> None:
    model = model_of("bert")
    made = tied(model, Tying.even(6, 3, 2))
    stack = layer_stack(made)
    for name, part in stack[0].named_modules():
        if isinstance(part, SharedLinear):
            assert stack[1].get_submodule(name).weight is part.weight
            assert stack[2].get_submodule(name).weight is not part.weight
            assert stack[1].get_submodule(name).bias is not part.bias
    own = 6 * sum(
        part.numel() for name, part in stack[0].named_parameters() if "weight" not in name or "Norm" in name
    )
    linear = sum(part.weight.numel() for part in stack[0].modules() if isinstance(part, SharedLinear))
    assert layer_bytes(made) == 4 * (own + 3 * linear)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_folder_is_an_encoder_as_any_other(dtype: Any, tmp_path: Path) -> None:
    """Loaded, or mapped from a store, whose file holds each weight once."""
    trunk = load_trunk(str(write_encoder(tmp_path / "encoder")), dtype="float32")
    made = tied(trunk.model, Tying.even(2, 1, 4))
    (tmp_path / "tied").mkdir()
    save_tied(tmp_path / "tied", made, trunk.tokenizer)
    loaded = load_trunk(str(tmp_path / "tied"), dtype=dtype)
    store = TrunkStore(tmp_path / "store")
    stored = store.trunk(str(tmp_path / "tied"), dtype=dtype)
    for one in (loaded, stored):
        stack = layer_stack(one.model)
        query = "attention.self.query"
        assert stack[0].get_submodule(query).weight is stack[1].get_submodule(query).weight
    texts = ["w1 w2 w3", "left0 w5", "w7"]
    codes = [TextCoder(one, CoderConfig()).encode(texts) for one in (loaded, stored)]
    assert all((one.dense == other.dense).all() for one, other in zip(*codes, strict=True))
    if dtype == "float32":
        torch.testing.assert_close(said(loaded.model), said(made), rtol=0, atol=0)
    (file,) = (tmp_path / "store").glob("*.weights")
    whole = sum(tensor.nbytes for tensor in loaded.model.parameters())  # each once
    assert file.stat().st_size < 1.15 * whole + 20_000


@pytest.mark.parametrize("kind", sorted(_LANGUAGE))
def test_language_models(kind: str, tmp_path: Path) -> None:
    model = model_of(kind, AutoModelForCausalLM, **_LANGUAGE[kind])
    made = tied(model, Tying.even(6, 2, 32))
    torch.testing.assert_close(said(made), said(model), rtol=0, atol=2e-4)
    small = tied(model, Tying.even(6, 2, 2))
    (tmp_path / "tied").mkdir()
    save_tied(tmp_path / "tied", small, byte_level_tokenizer())
    loaded = load_language_model(str(tmp_path / "tied"), dtype="float32")
    torch.testing.assert_close(said(loaded.model), said(small), rtol=0, atol=0)
    stored = TrunkStore(tmp_path / "store").language_model(str(tmp_path / "tied"), dtype="float32")
    torch.testing.assert_close(said(stored.model), said(small), rtol=0, atol=0)


def test_what_cannot_be_tied(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no single list of layers that are alike"):
        tied(model_of("albert", embedding_size=16), Tying.even(6, 2, 0))  # tied from birth
    for unique, rank in ((0, 0), (7, 0), (2, -1)):
        with pytest.raises(ConfigError, match="must be"):
            Tying.even(6, unique, rank)
    with pytest.raises(ModelError, match="2 are said to be tied"):
        tied(model_of("bert"), Tying((0, 1), 0))


def test_damaged_folders_are_refused(tmp_path: Path) -> None:
    trunk = load_trunk(str(write_encoder(tmp_path / "encoder")), dtype="float32")
    made = tied(trunk.model, Tying.even(2, 1, 0))
    folder = tmp_path / "tied"
    folder.mkdir()
    save_tied(folder, made, trunk.tokenizer)
    config = (folder / "config.json").read_text()
    for odd in ('"rank": "x"', '"rank": -1'):
        (folder / "config.json").write_text(config.replace('"rank": 0', odd))
        with pytest.raises(ModelError, match="everlearn_tying"):
            load_trunk(str(folder))
    (folder / "config.json").write_text(config.replace('"rank": 0', '"rank": 3'))
    with pytest.raises(ModelError, match="another structure"):
        load_trunk(str(folder))
    (folder / "config.json").write_text(config)
    weights = folder / "tied.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_trunk(str(folder))
    weights.unlink()
    with pytest.raises(ModelError, match="safetensors"):
        load_trunk(str(folder))


def test_no_adapter_is_merged_into_shared_weights(tmp_path: Path) -> None:
    trunk = load_trunk(str(write_encoder(tmp_path / "encoder")), dtype="float32")
    (tmp_path / "tied").mkdir()
    save_tied(tmp_path / "tied", tied(trunk.model, Tying.even(2, 1, 0)), trunk.tokenizer)
    base = load_trunk(str(tmp_path / "tied"), dtype="float32")
    layer = "encoder.layer.0.attention.self.query"
    adapter = Adapter({f"{layer}.lora_A": torch.zeros(2, 32), f"{layer}.lora_B": torch.zeros(32, 2)})
    with pytest.raises(ModelError, match="has tied layers"):
        merge_adapter(base, adapter, torch.float32)
