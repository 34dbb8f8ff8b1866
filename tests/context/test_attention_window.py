from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.context.tiny_models import (
    ROTARY,
    gpt2,
    gptj,
    llama,
    mistral,
    streamed_states,
    tokens,
    whole_states,
)
from torch import Tensor, nn

from everlearn.context import CarryConfig, make_carry
from everlearn.context.attention import AttentionCarry
from everlearn.context.decoder import decoder_of
from everlearn.errors import ConfigError, ModelError


def reference_llama(model: nn.Module, ids_T: Tensor, chunk_length: int, sinks: int, window: int) -> Tensor:
    """Llama over chunks, written out: keys are kept unturned, and turned from scratch by where they stand."""
    decoder: Any = decoder_of(model)
    config = decoder.config
    num_heads, num_groups, size = config.num_attention_heads, config.num_key_value_heads, config.head_dim
    frequencies = config.rope_parameters["rope_theta"] ** -(torch.arange(0, size, 2).double() / size)

    def turned(heads_HTD: Tensor, place_T: Tensor) -> Tensor:
        complex_HTF = torch.complex(heads_HTD[..., : size // 2], heads_HTD[..., size // 2 :])
        complex_HTF = complex_HTF * torch.polar(torch.ones(()).double(), place_T[:, None] * frequencies)
        return torch.cat((complex_HTF.real, complex_HTF.imag), -1)

    memory: list[tuple[Tensor, Tensor]] = [
        (torch.zeros(num_groups, 0, size).double(), torch.zeros(num_groups, 0, size).double())
        for _ in decoder.layers
    ]
    memory_positions = torch.zeros(0).long()
    outputs = []
    for start in range(0, len(ids_T), chunk_length):
        chunk = ids_T[start : start + chunk_length]
        stop = start + len(chunk)
        # Where slots stand: the window and the chunk at their positions, the sinks right before them.
        is_sink = memory_positions < sinks
        recent = memory_positions[~is_sink]
        gap = int(recent[0]) - int(is_sink.sum()) if len(recent) else 0
        place_S = torch.cat((memory_positions + gap * is_sink, torch.arange(start, stop)))
        states_TH = decoder.embed_tokens(chunk)
        seen_TS = torch.arange(len(place_S)) < len(memory_positions) + 1 + torch.arange(len(chunk))[:, None]
        updated = []
        for layer, (old_keys, old_values) in zip(decoder.layers, memory, strict=True):
            attention = layer.self_attn
            normed_TH = layer.input_layernorm(states_TH)
            query_HTD = attention.q_proj(normed_TH).view(len(chunk), num_heads, size).transpose(0, 1)
            keys_GSD = attention.k_proj(normed_TH).view(len(chunk), num_groups, size).transpose(0, 1)
            values_GSD = attention.v_proj(normed_TH).view(len(chunk), num_groups, size).transpose(0, 1)
            keys_GSD = torch.cat((old_keys, keys_GSD), 1)
            values_GSD = torch.cat((old_values, values_GSD), 1)
            updated.append((keys_GSD, values_GSD))
            repeat = num_heads // num_groups
            turned_HSD = turned(keys_GSD, place_S.double()).repeat_interleave(repeat, 0)
            query_HTD = turned(query_HTD, place_S[-len(chunk) :].double())
            scores_HTS = query_HTD @ turned_HSD.transpose(1, 2) / size**0.5
            weights_HTS = scores_HTS.masked_fill(~seen_TS, -torch.inf).softmax(-1)
            mixed_HTD = weights_HTS @ values_GSD.repeat_interleave(repeat, 0)
            states_TH = states_TH + attention.o_proj(mixed_HTD.transpose(0, 1).flatten(1))
            states_TH = states_TH + layer.mlp(layer.post_attention_layernorm(states_TH))
        outputs.append(decoder.norm(states_TH))
        positions = torch.cat((memory_positions, torch.arange(start, stop)))
        kept = (positions < sinks) | (positions >= stop - window)
        memory_positions = positions[kept]
        memory = [(keys[:, kept], values[:, kept]) for keys, values in updated]
    return torch.cat(outputs)


@pytest.mark.parametrize(("sinks", "window"), [(0, 24), (4, 24), (3, 7), (2, 1), (20, 40)])
def test_window_and_sinks_equal_attention_written_out(sinks: int, window: int) -> None:
    # The stream is six times the trained length, so keys are turned back on the way.
    model = llama(max_position_embeddings=80).double()
    ids = tokens(500)
    found = streamed_states(model, {"a": ids}, CarryConfig(sinks=sinks, window=window), chunk_length=11)
    with torch.no_grad():
        expected = reference_llama(model, torch.from_numpy(ids[:-1]).long(), 11, sinks, window)
    # The model computes its own angles in float32, for other positions than the reference.
    torch.testing.assert_close(found["a"], expected, atol=2e-5, rtol=0)


def handed_positions(model: nn.Module) -> list[Tensor]:
    """All position_ids that the model is given from now on, but for looks at single tokens."""
    seen: list[Tensor] = []

    def note(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        if "position_ids" in kwargs and kwargs["input_ids"].shape[1] > 1:
            seen.append(kwargs["position_ids"])

    decoder_of(model).register_forward_pre_hook(note, with_kwargs=True)
    return seen


@pytest.mark.parametrize("name", ROTARY)
def test_a_long_stream_stays_within_the_trained_positions(name: str) -> None:
    limit, config = 64, CarryConfig(sinks=4, window=24)
    model = ROTARY[name](**{"n_positions" if name == "gptj" else "max_position_embeddings": limit})
    # Another document first, so that the long one starts in the middle of a row.
    documents = {"short": tokens(9, 1), "long": tokens(3 * limit, 2)}
    positions = handed_positions(model)
    found = streamed_states(model, documents, config)
    assert max(int(one.max()) for one in positions) < limit
    # The same weights with more positions need no turning back before the end.
    roomy = ROTARY[name](**{"n_positions" if name == "gptj" else "max_position_embeddings": 512})
    roomy.load_state_dict(model.state_dict())
    positions = handed_positions(roomy)
    expected = streamed_states(roomy, documents, config)
    assert max(int(one.max()) for one in positions) > 2 * limit
    for document in documents:
        torch.testing.assert_close(found[document], expected[document], atol=1e-4, rtol=0)


def test_learned_positions_start_anew_at_their_end() -> None:
    model, ids = gpt2(n_positions=64), tokens(101)
    positions = handed_positions(model)
    found = streamed_states(model, {"a": ids}, CarryConfig(window=None), chunk_length=20)["a"]
    assert max(int(one.max()) for one in positions) < 64
    torch.testing.assert_close(found[:60], whole_states(model, ids[:61]), atol=1e-4, rtol=0)
    torch.testing.assert_close(found[60:], whole_states(model, ids[60:]), atol=1e-4, rtol=0)
    with pytest.raises(ModelError, match="64 positions; choose a smaller window"):
        streamed_states(model, {"a": ids}, CarryConfig(), chunk_length=100)
    # Padding of the shorter row does not count.
    found = streamed_states(
        model, {"a": ids, "b": tokens(62, 1)}, CarryConfig(window=None), num_lanes=2, chunk_length=20
    )["b"]
    torch.testing.assert_close(found[:60], whole_states(model, tokens(62, 1))[:60], atol=1e-4, rtol=0)


def test_what_does_not_fit_is_refused() -> None:
    model = llama(max_position_embeddings=64)
    with pytest.raises(ConfigError, match="below the model's trained length of 64, not 68"):
        make_carry(model, CarryConfig(sinks=4, window=64), 1)
    with pytest.raises(ModelError, match="64 positions; choose a smaller window or shorter chunks"):
        streamed_states(model, {"a": tokens(100)}, CarryConfig(sinks=4, window=40), chunk_length=32)


def test_no_more_slots_than_are_used() -> None:
    model, config = llama(), CarryConfig(sinks=2, window=10)
    carry = make_carry(model, config, 2)
    assert isinstance(carry, AttentionCarry)
    streamed_states(model, {"a": tokens(65), "b": tokens(8)}, config, num_lanes=2, carry=carry)
    assert carry.num_slots == 12
    # Keys and values of 2 layers with 2 heads of 16 in float32; three int64 a slot.
    assert carry.num_bytes == 2 * 12 * (2 * 2 * 2 * 16 * 4 + 3 * 8)
    carry.reset([0])
    assert carry.num_slots == 7
    carry.reset([1])
    assert carry.num_slots == carry.num_bytes == 0


def test_the_models_own_sliding_window_counts() -> None:
    ids = tokens(90)
    model = mistral(sliding_window=12)
    found = streamed_states(model, {"a": ids}, CarryConfig(window=40))["a"]
    torch.testing.assert_close(found, whole_states(model, ids), atol=1e-4, rtol=0)


def test_partial_rotary_dimension_and_neighbours() -> None:
    model, ids = gptj(rotary_dim=4), tokens(90)
    found = streamed_states(model, {"a": ids}, CarryConfig(window=None))["a"]
    torch.testing.assert_close(found, whole_states(model, ids), atol=1e-4, rtol=0)
