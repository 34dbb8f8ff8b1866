"""The head's divergence against torch's own, with all logits in memory, in double precision."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from everlearn.learning.language.divergence import Head, linear_kl_divergence


def log_softmax_of(
    states: Tensor, weight: Tensor, bias: Tensor | None, softcap: float | None, temperature: float
) -> Tensor:
    logits = functional.linear(states, weight, bias)
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    return functional.log_softmax(logits / temperature, dim=1)


@pytest.mark.parametrize("has_own_head", [False, True])
@pytest.mark.parametrize("softcap", [None, 5.0])
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_value_and_gradients_equal_those_of_whole_logits(
    temperature: float, has_bias: bool, softcap: float | None, has_own_head: bool
) -> None:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()

    states, teacher_states, weight = draw(300, 16), draw(300, 16), draw(50, 16)
    bias = draw(50) if has_bias else None
    teacher_weight = draw(50, 16) if has_own_head else None
    teacher_bias = draw(50) if has_own_head and has_bias else None
    shares = torch.rand(300, generator=generator, dtype=torch.float64)
    leaves = [one for one in (states, weight, bias) if one is not None]

    divergence, nats = linear_kl_divergence(
        states,
        teacher_states,
        Head(weight, bias),
        shares,
        teacher_head=None if teacher_weight is None else Head(teacher_weight, teacher_bias),
        softcap=softcap,
        temperature=temperature,
    )
    gradients = torch.autograd.grad(3.0 * divergence, leaves)

    teacher = (teacher_weight, teacher_bias) if teacher_weight is not None else (weight, bias)
    teacher_log_p = log_softmax_of(teacher_states, *teacher, softcap, temperature).detach()
    log_p = log_softmax_of(states, weight, bias, softcap, temperature)
    expected_nats = functional.kl_div(log_p, teacher_log_p, reduction="none", log_target=True).sum(1)
    expected = (expected_nats * shares).sum()
    torch.testing.assert_close(divergence, expected)
    torch.testing.assert_close(nats, expected_nats.detach())
    for gradient, wanted in zip(gradients, torch.autograd.grad(3.0 * expected, leaves), strict=True):
        torch.testing.assert_close(gradient, wanted)


def test_a_model_is_no_distance_from_itself() -> None:
    states = torch.randn(200, 8, generator=torch.Generator().manual_seed(1)).bfloat16().requires_grad_()
    weight = torch.randn(30, 8, generator=torch.Generator().manual_seed(2))
    divergence, nats = linear_kl_divergence(states, states, Head(weight), torch.ones(200))
    assert float(divergence.detach()) == 0.0
    assert nats.abs().max() == 0.0
    (gradient,) = torch.autograd.grad(divergence, states)
    assert not gradient.any()


def test_no_tokens_are_no_distance() -> None:
    states = torch.randn(0, 3, requires_grad=True)
    divergence, nats = linear_kl_divergence(states, states, Head(torch.randn(5, 3)), torch.ones(0))
    assert float(divergence.detach()) == 0.0
    assert len(nats) == 0
