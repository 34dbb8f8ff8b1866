from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from everlearn.checks import METHOD_CHECKS
from everlearn.errors import ConfigError
from everlearn.learning.gradient import GradientConfig, GradientLearner
from everlearn.methods import Anchor, AnchorConfig
from everlearn.types import Boundary, Example

MAKERS: dict[str, Callable[[], Anchor]] = {
    "penalty": lambda: Anchor(AnchorConfig(mode="penalty", strength=0.1)),
    "pull": lambda: Anchor(AnchorConfig(strength=0.1, renew_at_boundaries=True)),
}
EXAMPLES = [
    Example(id="1", target="a", vector=np.array([1.0, 0.0])),
    Example(id="2", target="b", vector=np.array([0.0, 1.0])),
]
BOUNDARY = Boundary(reason="request", num_examples=2)


@pytest.mark.parametrize("check", METHOD_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", MAKERS)
def test_contract(check: Callable[[Callable[[], Anchor]], None], name: str) -> None:
    check(MAKERS[name])


def learner_with(*methods: Anchor) -> GradientLearner:
    network = nn.Linear(2, 3)
    with torch.no_grad():
        network.weight.copy_(torch.arange(6.0).reshape(3, 2) / 10)
        network.bias.zero_()
    settings = GradientConfig(
        optimizer="sgd", learning_rate=0.1, head_learning_rate=0.1, warmup_steps=0, max_gradient_norm=None
    )
    return GradientLearner.for_vectors(network, 3, settings, methods)


def weight_of(learner: GradientLearner) -> torch.Tensor:
    return dict(learner.model.named_parameters())["body.network.weight"].detach().clone()


def test_steps_go_back_by_a_share_of_the_distance() -> None:
    """One more step by hand: a plain one and the pull, or the penalty's gradient."""
    penalized = learner_with(Anchor(AnchorConfig(mode="penalty", strength=2.0)))
    pulled = learner_with(Anchor(AnchorConfig(mode="pull", strength=0.25)))
    start = weight_of(pulled)
    for _ in range(3):
        for learner in (penalized, pulled):
            learner.learn(EXAMPLES)
    assert (weight_of(pulled) - start).abs().max() > 1e-4

    def after_plain_step(learner: GradientLearner) -> torch.Tensor:
        plain = learner_with()
        plain.learn(EXAMPLES)
        with torch.no_grad():
            for mine, theirs in zip(plain.model.parameters(), learner.model.parameters(), strict=True):
                mine.copy_(theirs)
        plain.learn(EXAMPLES)
        return weight_of(plain)

    expected_pulled = torch.lerp(after_plain_step(pulled), start, 0.25)
    expected_penalized = after_plain_step(penalized) - 0.1 * 2.0 * (weight_of(penalized) - start)
    for learner in (penalized, pulled):
        learner.learn(EXAMPLES)
    torch.testing.assert_close(weight_of(pulled), expected_pulled)
    torch.testing.assert_close(weight_of(penalized), expected_penalized)


def test_the_anchor_is_dropped_again_at_a_boundary_when_asked() -> None:
    for renews in (False, True):
        learner = learner_with(Anchor(AnchorConfig(mode="pull", strength=1.0, renew_at_boundaries=renews)))
        learner.learn(EXAMPLES)
        start = weight_of(learner)
        with torch.no_grad():
            dict(learner.model.named_parameters())["body.network.weight"].add_(1.0)
        learner.on_boundary(BOUNDARY)
        learner.learn(EXAMPLES)
        torch.testing.assert_close(weight_of(learner), start + 1.0 if renews else start)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"mode": "chain"}, "mode"),
        ({"strength": 1.5}, "strength"),
        ({"mode": "penalty", "strength": float("inf")}, "strength"),
        ({"strength": -0.1}, "strength"),
    ],
)
def test_bad_settings_are_named(settings: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError, match=f"{field} must be"):
        AnchorConfig(**settings)
