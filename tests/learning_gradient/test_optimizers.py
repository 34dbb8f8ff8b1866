"""Every optimizer against a plain torch loop in float64, losses identical."""

from __future__ import annotations

import copy
from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn
from torch.nn import functional

from everlearn.errors import ModelError
from everlearn.learning.gradient import GradientConfig, GradientLearner
from everlearn.settings.gradient import OptimizerName
from everlearn.types import Example

NUM_FEATURES, NUM_HIDDEN, NUM_LABELS, NUM_STEPS = 5, 7, 4, 12


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(NUM_FEATURES, NUM_HIDDEN), nn.Tanh()).double()


def stream() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(NUM_STEPS, 8, NUM_FEATURES))
    columns = generator.integers(0, NUM_LABELS, size=(NUM_STEPS, 8))
    columns[0, :NUM_LABELS] = range(NUM_LABELS)  # all labels, in order, in the first batch
    return vectors, columns


def plain_optimizer(name: str, body: nn.Module, head: nn.Linear) -> torch.optim.Optimizer:
    def groups(decay: float) -> list[dict[str, object]]:
        weights = {True: decay, False: 0.0}
        return [
            {
                "params": [p for p in module.parameters() if (p.ndim > 1) == is_matrix],
                "lr": rate,
                "weight_decay": weights[is_matrix],
            }
            for module, rate in ((body, 0.02), (head, 0.1))
            for is_matrix in (True, False)
        ]

    match name:
        case "sgd":
            return torch.optim.SGD(groups(0.01))
        case "momentum":
            return torch.optim.SGD(groups(0.01), momentum=0.8)
        case "adagrad":
            return torch.optim.Adagrad(groups(0.01))
        case _:
            return torch.optim.AdamW(groups(0.01), betas=(0.8, 0.99))


@pytest.mark.parametrize("clip", [None, 0.3])
@pytest.mark.parametrize("name", get_args(OptimizerName))
def test_losses_equal_those_of_a_plain_loop(name: OptimizerName, clip: float | None) -> None:
    vectors, columns = stream()
    config = GradientConfig(
        optimizer=name,
        learning_rate=0.02,
        head_learning_rate=0.1,
        momentum=0.8,
        betas=(0.8, 0.99),
        weight_decay=0.01,
        warmup_steps=0,
        max_gradient_norm=clip,
    )
    learner = GradientLearner.for_vectors(network(), NUM_HIDDEN, config)
    body, head = copy.deepcopy(network()), nn.Linear(NUM_HIDDEN, NUM_LABELS).double()
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    optimizer = plain_optimizer(name, body, head)
    parameters = [*body.parameters(), *head.parameters()]

    for step in range(NUM_STEPS):
        report = learner.learn(
            [
                Example(id=f"{step}-{row}", target=str(columns[step, row]), vector=vectors[step, row])
                for row in range(8)
            ]
        )
        optimizer.zero_grad()
        loss = functional.cross_entropy(
            head(body(torch.from_numpy(vectors[step]))), torch.from_numpy(columns[step])
        )
        loss.backward()  # type: ignore[no-untyped-call]
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(parameters, clip)
        optimizer.step()
        assert report.loss == pytest.approx(loss.item(), rel=1e-12, abs=1e-14)
    for mine, plain in zip(learner.model.parameters(), parameters, strict=True):
        torch.testing.assert_close(mine, plain, rtol=1e-10, atol=1e-12)


class _Rooted(nn.Module):
    """Adds the root of zero: a finite loss, whose gradient is no number."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(NUM_FEATURES))

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        return vectors.float() + self.weight.abs().sqrt()


@pytest.mark.parametrize("clip", [None, 1.0])
def test_gradients_that_are_no_numbers_change_nothing(clip: float | None) -> None:
    config = GradientConfig(max_gradient_norm=clip, warmup_steps=0)
    learner = GradientLearner.for_vectors(_Rooted(), NUM_FEATURES, config)
    batch = [
        Example(id=str(row), target=str(row % 2), vector=np.full(NUM_FEATURES, float(row)))
        for row in range(4)
    ]
    with pytest.raises(ModelError, match=r"norm of the gradients is nan.*--learning-rate"):
        learner.learn(batch)
    assert all(torch.isfinite(one).all() for one in learner.model.parameters())
