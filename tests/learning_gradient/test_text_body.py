from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from everlearn.errors import InputError
from everlearn.learning.gradient import TextBody
from everlearn.learning.gradient.length_groups import length_groups
from everlearn.learning.gradient.text_body import pool
from everlearn.models.encoder.load import Trunk
from everlearn.types import Example

TEXTS = ["i want to fly", "pay", "what is the time in rome now please help", "lost card", "unheard words"] * 6


@given(
    lengths=st.lists(st.integers(1, 500), max_size=60),
    group_cost=st.integers(0, 2_000),
    max_tokens=st.one_of(st.none(), st.integers(1, 2_000)),
)
def test_groups_hold_each_text_once(lengths: list[int], group_cost: int, max_tokens: int | None) -> None:
    groups = length_groups(lengths, group_cost=group_cost, max_tokens=max_tokens)
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    for group in groups:
        longest = max(lengths[index] for index in group)
        assert max_tokens is None or len(group) == 1 or longest * len(group) <= max_tokens


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=9), group_cost=st.integers(0, 30))
def test_groups_are_the_cheapest(lengths: list[int], group_cost: int) -> None:
    def cost(groups: list[list[int]]) -> int:
        return sum(group_cost + max(group) * len(group) for group in groups)

    def cheapest(ordered: tuple[int, ...]) -> int:
        if not ordered:
            return 0
        return min(
            group_cost + ordered[size - 1] * size + cheapest(ordered[size:])
            for size in range(1, len(ordered) + 1)
        )

    found = [[lengths[index] for index in group] for group in length_groups(lengths, group_cost=group_cost)]
    assert cost(found) == cheapest(tuple(sorted(lengths)))


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_features_and_gradients_equal_those_text_by_text(tiny_trunk: Trunk, pooling: Any) -> None:
    body = TextBody(dataclasses.replace(tiny_trunk, pooling=pooling))
    examples = [Example(id=str(place), text=text) for place, text in enumerate(TEXTS)]
    inputs = body.to_inputs(examples)
    direction = torch.randn(len(TEXTS), 32, generator=torch.Generator().manual_seed(0))
    # The group cost that the body uses would run so few tokens as one group.
    assert len(length_groups([len(ids) for ids in inputs] * 40)) > 1
    features = body(inputs * 40)[: len(TEXTS)]
    (features * direction).sum().backward()
    gradients = {name: w.grad.clone() for name, w in body.named_parameters() if w.grad is not None}
    body.zero_grad()

    alone: list[torch.Tensor] = []
    for text in TEXTS:
        encoded = tiny_trunk.tokenizer(text, return_tensors="pt")
        states = body.network(input_ids=encoded["input_ids"]).last_hidden_state[0]
        alone.append({"mean": states.mean(0), "cls": states[0], "max": states.max(0).values}[pooling])
    expected = torch.stack(alone)
    (expected * direction).sum().backward()  # type: ignore[no-untyped-call]

    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)
    for name, weight in body.named_parameters():
        if weight.grad is not None:
            torch.testing.assert_close(gradients[name], weight.grad, rtol=1e-3, atol=2e-4)
    assert "network.embeddings.word_embeddings.weight" in gradients


def test_texts_are_cut_and_checked(tiny_trunk: Trunk) -> None:
    body = TextBody(tiny_trunk, max_length=5)
    inputs = body.to_inputs([Example(id="1", text="i want to fly to rome"), Example(id="2", text="pay")])
    assert [len(ids) for ids in inputs] == [5, 3]
    assert inputs[0].dtype == np.int32
    assert body.to_inputs([]) == []
    assert TextBody(tiny_trunk, max_length=10**6).max_length == tiny_trunk.max_length
    with pytest.raises(InputError, match="'7' has no text"):
        body.to_inputs([Example(id="7", vector=np.ones(3))])


def test_pooled_features_are_float32_under_autocast(tiny_trunk: Trunk) -> None:
    full, reduced = TextBody(tiny_trunk), TextBody(tiny_trunk, autocast_dtype=torch.bfloat16)
    inputs = full.to_inputs([Example(id=str(place), text=text) for place, text in enumerate(TEXTS[:5])])
    with torch.no_grad():
        features = reduced(inputs)
        torch.testing.assert_close(features, full(inputs), rtol=0.05, atol=0.05)
        assert not torch.equal(features, full(inputs))
    assert features.dtype == torch.float32


def test_padding_takes_no_part_in_pooling() -> None:
    states = torch.tensor([[[1.0], [3.0], [99.0]]])
    mask = torch.tensor([[1, 1, 0]])
    assert pool(states, mask, "mean").item() == 2.0
    assert pool(states, mask, "max").item() == 3.0
    assert pool(states, mask, "cls").item() == 1.0
