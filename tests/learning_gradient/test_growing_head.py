from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch.nn import functional

from everlearn.learning.gradient import GradientConfig, GrowingHead
from everlearn.learning.gradient.optimizers import build_optimizer
from everlearn.settings.gradient import OptimizerName


def trained_head(name: OptimizerName) -> tuple[GrowingHead, torch.optim.Optimizer, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    head = GrowingHead(6)
    optimizer = build_optimizer({}, dict(head.named_parameters()), GradientConfig(optimizer=name))
    head.grow(3, optimizer)
    features = torch.randn(9, 6, generator=generator)
    for _ in range(4):
        optimizer.zero_grad()
        functional.cross_entropy(head(features), torch.arange(9) % 3).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return head, optimizer, features


@pytest.mark.parametrize("name", get_args(OptimizerName))
def test_growth_keeps_weights_moments_and_logits(name: OptimizerName) -> None:
    head, optimizer, features = trained_head(name)
    logits, weight, bias = head(features).detach(), head.weight.detach().clone(), head.bias.detach().clone()
    moments = {
        (parameter, key): value.clone()
        for parameter in head.parameters()
        for key, value in optimizer.state[parameter].items()
        if value is not None
    }
    assert (len(moments) > 0) == (name != "sgd")
    parameters = list(head.parameters())

    head.grow(5, optimizer)

    assert all(before is after for before, after in zip(parameters, head.parameters(), strict=True))
    assert torch.equal(head.weight[:3], weight)
    assert torch.equal(head.bias[:3], bias)
    # Matrix products of another width may round otherwise in the last bit.
    torch.testing.assert_close(head(features)[:, :3], logits, rtol=1e-6, atol=1e-7)
    assert not head(features)[:, 3:].any()
    for (parameter, key), before in moments.items():
        after = optimizer.state[parameter][key]
        if before.ndim == 0:
            assert torch.equal(after, before)
        else:
            assert torch.equal(after[:3], before)
            assert after.shape == parameter.shape
            assert not after[3:].any()


@pytest.mark.parametrize("name", get_args(OptimizerName))
def test_old_rows_go_on_as_if_nothing_had_grown(name: OptimizerName) -> None:
    grown, optimizer, _ = trained_head(name)
    kept, other, _ = trained_head(name)
    grown.grow(6, optimizer)
    gradient = torch.randn(3, 6, generator=torch.Generator().manual_seed(1))
    for head in (grown, kept):
        head.weight.grad = torch.zeros_like(head.weight)
        head.weight.grad[:3] = gradient
    optimizer.step()
    other.step()
    assert torch.equal(grown.weight[:3], kept.weight)
    assert not grown.weight[3:].any()
