"""Grouped attention against torch's own, in double precision, and within a model."""

from typing import Any

import pytest
import torch
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from everlearn.models.grouped_attention import GROUPED_ATTENTION, grouped_attention, use_grouped_attention


def _draw(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()


@pytest.mark.parametrize("kind", ["causal", "bool", "additive"])
def test_output_and_gradients_equal_torchs(kind: str) -> None:
    queries, keys, values = _draw(2, 6, 5, 8), _draw(2, 3, 9, 8), _draw(2, 3, 9, 8)
    allowed = torch.ones(5, 9, dtype=torch.bool).tril(4)
    mask = {
        "causal": None,
        "bool": allowed[None, None].expand(2, 1, 5, 9),
        "additive": torch.zeros(2, 1, 5, 9, dtype=torch.float64).masked_fill(~allowed, -1e9),
    }[kind]
    mixed = grouped_attention(queries, keys, values, mask, 0.3)
    expected = functional.scaled_dot_product_attention(
        queries, keys, values, attn_mask=allowed, scale=0.3, enable_gqa=True
    ).transpose(1, 2)
    torch.testing.assert_close(mixed, expected)
    cotangent = _draw(*mixed.shape).detach()
    leaves = (queries, keys, values)
    for gradient, wanted in zip(
        torch.autograd.grad(mixed, leaves, cotangent),
        torch.autograd.grad(expected, leaves, cotangent),
        strict=True,
    ):
        torch.testing.assert_close(gradient, wanted)


def test_rows_that_use_few_keys_give_the_same() -> None:
    queries, keys, values = _draw(3, 4, 5, 8), _draw(3, 2, 20, 8), _draw(3, 2, 20, 8)
    allowed = torch.zeros(3, 1, 5, 20, dtype=torch.bool)
    allowed[:, :, :, 15:] = torch.ones(5, 5, dtype=torch.bool).tril()
    allowed[1, :, :, :4] = True  # only one row carries anything
    assert float(allowed.any(2).float().mean()) < 0.8
    mixed = grouped_attention(queries, keys, values, allowed, 0.3)
    expected = functional.scaled_dot_product_attention(
        queries, keys, values, attn_mask=allowed, scale=0.3, enable_gqa=True
    ).transpose(1, 2)
    torch.testing.assert_close(mixed, expected)
    leaves = (queries, keys, values)
    for gradient, wanted in zip(
        torch.autograd.grad(mixed.square().sum(), leaves),
        torch.autograd.grad(expected.square().sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(gradient, wanted)


def _model(**settings: Any) -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        **settings,
    )
    model: Any = LlamaForCausalLM(config)
    return model.eval()


def test_a_model_gives_the_same_logits_and_text() -> None:
    model = _model()
    ids = torch.arange(12).reshape(2, 6)
    expected = model(ids).logits
    written = model.generate(ids, max_new_tokens=4, do_sample=False, pad_token_id=0)
    assert use_grouped_attention(model)
    assert model.config._attn_implementation == GROUPED_ATTENTION
    torch.testing.assert_close(model(ids).logits, expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(model.generate(ids, max_new_tokens=4, do_sample=False, pad_token_id=0), written)


def test_a_model_with_dropout_in_its_attention_keeps_its_own() -> None:
    assert not use_grouped_attention(_model(attention_dropout=0.1))
