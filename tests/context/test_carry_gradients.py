from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.context.tiny_models import (
    VOCABULARY,
    gpt_neox,
    llama,
    mamba,
    mamba2,
    mistral,
    rwkv,
    tokens,
    whole_states,
)
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from everlearn.context import Carry, CarryConfig, Rows, make_carry
from everlearn.context.decoder import decoder_of
from everlearn.context.rnn import RnnLanguageModel
from everlearn.errors import ModelError

MODELS: dict[str, Callable[[], nn.Module]] = {
    "llama": llama,
    "gpt_neox": gpt_neox,
    "mamba": mamba,
    "mamba2": mamba2,
    "rwkv": rwkv,
    "lstm": lambda: RnnLanguageModel(VOCABULARY, hidden=16, num_layers=2, cell="lstm"),
}


def rows_of(start: int, stop: int) -> Rows:
    ids_RL = torch.stack([torch.from_numpy(tokens(60, seed)[start:stop]).long() for seed in range(2)])
    position_RL = torch.arange(start, stop).expand(2, -1)
    lanes_R = torch.arange(2)
    return Rows(lanes_R, ids_RL, lanes_R[:, None].expand_as(ids_RL).contiguous(), position_RL)


def embedding_of(model: Any) -> Tensor:
    weight: Tensor = model.get_input_embeddings().weight
    return weight


def gradients(model: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    named = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    return {
        name: torch.zeros_like(named[name]) if one is None else one
        for name, one in zip(named, found, strict=True)
    }


def weighed(states_RLH: Tensor) -> Tensor:
    """A loss that depends on every state."""
    torch.manual_seed(1)
    return (states_RLH * torch.randn(states_RLH.shape[-1], dtype=states_RLH.dtype)).square().mean()


def second_chunk(model: nn.Module, carry: Carry, detach: bool, length: int = 12) -> Tensor:
    first, second = rows_of(0, 20), rows_of(20, 20 + length)
    carry.advance(first, carry.forward(model, first), detach=detach)
    return carry.forward(model, second).states_RLH


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("length", [12, 1])
def test_gradients_through_the_carry_equal_those_of_the_joined_pair(name: str, length: int) -> None:
    torch.manual_seed(0)
    model = MODELS[name]().double()
    carry = make_carry(model, CarryConfig(sinks=2, window=40), 2)
    joined = make_carry(model, CarryConfig(sinks=2, window=40), 2).forward(model, rows_of(0, 20 + length))
    expected = gradients(model, weighed(joined.states_RLH[:, 20:]))
    found = gradients(model, weighed(second_chunk(model, carry, detach=False, length=length)))
    # Some models compute parts in float32 whatever their weights are.
    tolerance = 1e-9 if name == "lstm" else 1e-4
    for parameter, gradient in expected.items():
        scale = float(gradient.abs().max())
        torch.testing.assert_close(
            found[parameter], gradient, atol=tolerance * max(scale, 1e-3), rtol=tolerance, msg=parameter
        )


@pytest.mark.parametrize("name", MODELS)
def test_a_detached_carry_passes_no_gradient(name: str) -> None:
    torch.manual_seed(0)
    model = MODELS[name]().train()
    first, second = rows_of(0, 20), rows_of(20, 32)
    only_first = set(first.ids_RL.flatten().tolist()) - set(second.ids_RL.flatten().tolist())
    for detach in (True, False):
        carry = make_carry(model, CarryConfig(sinks=2, window=40), 2)
        loss = weighed(second_chunk(model, carry, detach=detach))
        gradient = torch.autograd.grad(loss, embedding_of(model))[0][sorted(only_first)]
        assert bool(gradient.any()) is not detach
    carry = make_carry(model, CarryConfig(sinks=2, window=40), 2)
    carry.advance(first, carry.forward(model, first), detach=False)
    carry.detach()
    gradient = torch.autograd.grad(weighed(carry.forward(model, second).states_RLH), embedding_of(model))[0]
    assert not gradient[sorted(only_first)].any()


def test_recomputed_layers_see_the_same_keys() -> None:
    model = llama()
    carry = make_carry(model, CarryConfig(sinks=2, window=16), 2)
    expected = gradients(model, weighed(second_chunk(model, carry, detach=True)))
    for layer in decoder_of(model).layers:
        plain = layer.forward
        layer.forward = lambda *args, plain=plain, **kwargs: checkpoint(
            plain, *args, use_reentrant=False, **kwargs
        )
    carry = make_carry(model, CarryConfig(sinks=2, window=16), 2)
    found = gradients(model, weighed(second_chunk(model, carry, detach=True)))
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, msg=name)


def test_a_model_that_drops_its_cache_is_refused() -> None:
    model: Any = mistral().train()
    carry = make_carry(model, CarryConfig(window=40), 2)
    model.activation_checkpointing_enable()
    with pytest.raises(ModelError, match="turn off transformers' gradient checkpointing"):
        carry.forward(model, rows_of(0, 20))


# peft asks the model by a name that transformers gives up.
@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.* is deprecated:FutureWarning")
def test_adapters_of_peft() -> None:
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    wrapped = peft.get_peft_model(llama(), config).eval()
    carry = make_carry(wrapped, CarryConfig(window=None), 2)
    found = second_chunk(wrapped, carry, detach=False)
    expected = whole_states(wrapped, tokens(60, 0)[:33])
    torch.testing.assert_close(found[0], expected[20:], atol=1e-4, rtol=0)
    assert all(one.any() for name, one in gradients(wrapped, weighed(found)).items() if "lora" in name)
