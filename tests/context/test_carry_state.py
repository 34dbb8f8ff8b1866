from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from tests.context.tiny_models import VOCABULARY, llama, mamba, mamba2, run_of, rwkv, tokens
from torch import nn
from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer

from everlearn.context import Carry, CarryConfig, Lanes, Rows, make_carry
from everlearn.context.rnn import RnnLanguageModel
from everlearn.errors import ConfigError, ModelError, StateError
from everlearn.types import State

MODELS: dict[str, Callable[[], nn.Module]] = {
    "llama": lambda: llama(max_position_embeddings=64),
    "mamba": mamba,
    "rwkv": rwkv,
    "lstm": lambda: RnnLanguageModel(VOCABULARY, hidden=16, num_layers=2, cell="lstm").eval(),
}
CONFIG = CarryConfig(sinks=2, window=20)


def lanes_for(carry: Carry) -> Lanes:
    lanes = Lanes(carry.num_lanes, 10, carry.one_document_per_row)
    for seed, length in enumerate([100, 33, 64, 47, 91]):
        lanes.add(run_of(str(seed), tokens(length, seed)))
    return lanes


def read_on(model: nn.Module, carry: Carry, lanes: Lanes, count: int) -> list[torch.Tensor]:
    found = []
    with torch.no_grad():
        for _ in range(count):
            chunk = lanes.take(1_000, flush=True)
            if chunk is None:
                break
            rows = Rows.from_chunk(chunk)
            result = carry.forward(model, rows)
            carry.advance(rows, result)
            found.append(result.states_RLH[rows.document_RL >= 0])
    return found


def on_disk(state: State) -> State:
    return State(load(save(dict(state.tensors))), json.loads(json.dumps(state.data)))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("dtype", ["model", "bfloat16"])
@pytest.mark.parametrize("num_before", [0, 1, 6])
def test_a_restored_carry_goes_on_bit_by_bit(name: str, dtype: Any, num_before: int) -> None:
    torch.manual_seed(0)
    model = MODELS[name]()
    config = CarryConfig(sinks=2, window=20, dtype=dtype)
    carry = make_carry(model, config, 3)
    lanes = lanes_for(carry)
    read_on(model, carry, lanes, num_before)
    saved, queued = on_disk(carry.state()), lanes.state()
    expected = read_on(model, carry, lanes, 100)
    other = make_carry(model, config, 3)
    other_lanes = lanes_for(other)
    read_on(model, other, other_lanes, 2)
    other.restore(saved)
    other_lanes.restore(queued)
    assert (other.num_bytes > 0) == (num_before > 0)
    found = read_on(model, other, other_lanes, 100)
    assert all(torch.equal(one, same) for one, same in zip(found, expected, strict=True))


@pytest.mark.parametrize("name", MODELS)
def test_reset_drops_the_context_of_a_lane(name: str) -> None:
    torch.manual_seed(0)
    model = MODELS[name]()
    carry = make_carry(model, CONFIG, 3)
    lanes = lanes_for(carry)
    read_on(model, carry, lanes, 3)
    carry.reset([1])
    chunk = lanes.take(1_000)
    assert chunk is not None
    rows = Rows.from_chunk(chunk)
    with torch.no_grad():
        found = carry.forward(model, rows).states_RLH
        alone = make_carry(model, CONFIG, 3).forward(model, rows).states_RLH
    torch.testing.assert_close(found[1], alone[1], atol=1e-5, rtol=0)
    assert not torch.allclose(found[0], alone[0], atol=1e-3)
    carry.reset([0, 1, 2])
    # Nothing of the text is left, be it only as numbers that are no longer used.
    assert not any(tensor.any() for key, tensor in carry.state().tensors.items() if key != "document_B")


@pytest.mark.parametrize("name", MODELS)
def test_foreign_and_damaged_states_are_refused(name: str) -> None:
    torch.manual_seed(0)
    model = MODELS[name]()
    carry = make_carry(model, CONFIG, 3)
    read_on(model, carry, lanes_for(carry), 2)
    state = carry.state()
    with pytest.raises(StateError, match="num_lanes=3, this one 2"):
        make_carry(model, CONFIG, 2).restore(state)
    with pytest.raises(StateError, match="kind="):
        make_carry(model, CarryConfig(kind="none"), 3).restore(state)
    for key in state.tensors:
        rest = {name: tensor for name, tensor in state.tensors.items() if name != key}
        with pytest.raises(StateError, match="damaged"):
            carry.restore(State(rest, state.data))


def test_no_carry_keeps_nothing() -> None:
    model = llama()
    carry = make_carry(model, CarryConfig(kind="none"), 3)
    read_on(model, carry, lanes_for(carry), 3)
    carry.reset([0])
    carry.detach()
    assert carry.num_bytes == 0
    carry.restore(on_disk(carry.state()))


def test_the_kind_must_be_the_models() -> None:
    with pytest.raises(ModelError, match="LlamaForCausalLM carries 'attention', not 'recurrent'"):
        make_carry(llama(), CarryConfig(kind="recurrent"), 1)
    model: Any = mamba2()
    for block in model.backbone.layers:
        block.mixer.__class__ = _ForgetfulMixer
    with pytest.raises(ModelError, match=r"Mamba2ForCausalLM does not go on from its states.*'none'"):
        make_carry(model, CarryConfig(), 1)
    assert make_carry(model, CarryConfig(kind="none"), 1).one_document_per_row


class _ForgetfulMixer(Mamba2Mixer):
    """Starts every pass anew, whatever states it is given."""

    def forward(self, hidden_states: Any, cache_params: Any = None, *args: Any, **kwargs: Any) -> Any:
        if cache_params is not None:
            layer = cache_params.layers[self.layer_idx]
            layer.conv_states = dict.fromkeys(layer.conv_states)
            layer.recurrent_states = dict.fromkeys(layer.recurrent_states)
        return super().forward(hidden_states, cache_params, *args, **kwargs)


def test_settings_are_checked() -> None:
    for name, value in (
        ("kind", "memory"),
        ("dtype", "int8"),
        ("sinks", -1),
        ("window", 0),
        ("gradient_chunks", -1),
    ):
        wrong: dict[str, Any] = {name: value}
        with pytest.raises(ConfigError, match=f"{name} must be .*, not {value!r}"):
            CarryConfig(**wrong)
    with pytest.raises(ConfigError, match="num_lanes must be at least 1, not 0"):
        make_carry(llama(), CarryConfig(window=64), 0)


class Encoder(nn.Module):
    """Something with a decoder that caches nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Body()

    def get_decoder(self) -> nn.Module:
        return self.body


class Body(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 8)

    def forward(self, input_ids: torch.Tensor) -> Any:
        return SimpleNamespace(last_hidden_state=self.embedding(input_ids))


def test_a_model_without_a_cache_can_only_do_without_carry() -> None:
    model = Encoder()
    with pytest.raises(ModelError, match="Encoder has no cache of one known kind; set carry to 'none'"):
        make_carry(model, CarryConfig(), 1)
    carry = make_carry(model, CarryConfig(kind="none"), 3)
    assert carry.one_document_per_row
    assert len(read_on(model, carry, lanes_for(carry), 3)) == 3
    with pytest.raises(ModelError, match="Linear has no decoder below a language-model head"):
        make_carry(nn.Linear(2, 2), CarryConfig(), 1)
