"""The head's cross-entropy against torch's own, with all logits in memory, in double precision."""

import pytest
import torch
from torch.nn import functional

from everlearn.learning.language.cross_entropy import linear_cross_entropy


@pytest.mark.parametrize("softcap", [None, 5.0])
@pytest.mark.parametrize("has_bias", [False, True])
def test_loss_and_gradients_equal_those_of_whole_logits(has_bias: bool, softcap: float | None) -> None:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()

    states, weight, bias = draw(300, 16), draw(50, 16), draw(50) if has_bias else None
    labels = torch.randint(0, 50, (300,), generator=generator)
    shares = torch.rand(300, generator=generator, dtype=torch.float64)
    leaves = [one for one in (states, weight, bias) if one is not None]

    loss, nats = linear_cross_entropy(states, weight, labels, shares, bias_V=bias, softcap=softcap)
    gradients = torch.autograd.grad(3.0 * loss, leaves)

    logits = functional.linear(states, weight, bias)
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    expected_nats = functional.cross_entropy(logits, labels, reduction="none")
    expected = (expected_nats * shares).sum()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(nats, expected_nats.detach())
    for gradient, wanted in zip(gradients, torch.autograd.grad(3.0 * expected, leaves), strict=True):
        torch.testing.assert_close(gradient, wanted)


def test_nothing_is_computed_for_frozen_parts() -> None:
    states = torch.randn(4, 3, requires_grad=True)
    weight = torch.randn(5, 3)
    loss, _ = linear_cross_entropy(states, weight, torch.zeros(4, dtype=torch.int64), torch.ones(4))
    loss.backward()  # type: ignore[no-untyped-call]
    assert states.grad is not None
    assert weight.grad is None


def test_no_tokens_give_a_loss_of_zero() -> None:
    states = torch.randn(0, 3, requires_grad=True)
    loss, nats = linear_cross_entropy(
        states, torch.randn(5, 3), torch.zeros(0, dtype=torch.int64), torch.ones(0)
    )
    assert float(loss.detach()) == 0.0
    assert len(nats) == 0
