from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests.context.tiny_models import (
    ATTENTION,
    RECURRENT,
    VOCABULARY,
    llama,
    streamed_states,
    tokens,
    whole_states,
)
from torch import nn

from everlearn.context import CarryConfig, make_carry
from everlearn.context.rnn import CellName, RnnLanguageModel

UNBOUNDED = CarryConfig(window=None)


def rnn_model(cell: CellName) -> nn.Module:
    torch.manual_seed(0)
    return RnnLanguageModel(VOCABULARY, hidden=24, num_layers=2, cell=cell).eval()


MODELS: dict[str, Callable[[], nn.Module]] = {
    **ATTENTION,
    **RECURRENT,
    "gru": lambda: rnn_model("gru"),
    "lstm": lambda: rnn_model("lstm"),
    "llama_eager": lambda: llama(attn_implementation="eager"),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("num_lanes", [1, 3])
def test_chunks_with_carry_equal_the_whole_text(name: str, num_lanes: int) -> None:
    model = MODELS[name]()
    # Ragged: with one lane rows hold the end of one document and the start of others.
    documents = {f"d{seed}": tokens(length, seed) for seed, length in enumerate([70, 3, 18, 41, 2, 33, 50])}
    found = streamed_states(model, documents, UNBOUNDED, num_lanes=num_lanes)
    for document, ids in documents.items():
        torch.testing.assert_close(found[document], whole_states(model, ids), atol=1e-4, rtol=0)


def test_without_carry_every_chunk_stands_alone() -> None:
    model = llama()
    documents = {"a": tokens(40, 1), "b": tokens(30, 2)}
    found = streamed_states(model, documents, CarryConfig(kind="none"), chunk_length=16)
    first = whole_states(model, documents["a"])
    torch.testing.assert_close(found["a"][:16], first[:16], atol=1e-4, rtol=0)
    assert not torch.allclose(found["a"][16:32], first[16:32], atol=1e-2)
    torch.testing.assert_close(
        found["a"][16:32], whole_states(model, documents["a"][16:33]), atol=1e-4, rtol=0
    )
    # The second document starts in the middle of a row.
    torch.testing.assert_close(found["b"][:9], whole_states(model, documents["b"][:10]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["llama", "mamba", "gru"])
def test_forward_changes_nothing(name: str) -> None:
    model = MODELS[name]()
    carry = make_carry(model, CarryConfig(window=8, sinks=2), 2)
    documents = {f"d{seed}": tokens(60, seed) for seed in range(2)}
    first = streamed_states(model, documents, carry.config, num_lanes=2, carry=carry)
    carry.reset([0, 1])
    again = streamed_states(model, documents, carry.config, num_lanes=2, carry=carry)
    for document in documents:
        assert torch.equal(first[document], again[document])


@pytest.mark.parametrize("name", ["llama", "mamba2", "gru"])
def test_carry_in_another_type_is_close(name: str) -> None:
    model = MODELS[name]()
    documents = {"a": tokens(60)}
    exact = streamed_states(model, documents, CarryConfig(window=64))
    rounded = streamed_states(model, documents, CarryConfig(window=64, dtype="bfloat16"))
    assert rounded["a"].dtype == torch.float32
    assert not torch.equal(exact["a"], rounded["a"])
    torch.testing.assert_close(exact["a"], rounded["a"], atol=0.1, rtol=0.1)
