from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from everlearn.errors import ConfigError
from everlearn.learning.gradient import GradientConfig, GradientLearner, learning_rate_factor
from everlearn.types import Example


def test_schedules_follow_their_formulas() -> None:
    def factors(schedule: Any, steps: list[int]) -> list[float]:
        return [
            learning_rate_factor(step, schedule, warmup_steps=4, total_steps=14, final_factor=0.2)
            for step in steps
        ]

    warmup = [0.25, 0.5, 0.75, 1.0]
    assert factors("constant", [0, 1, 2, 3, 4, 100]) == [*warmup, 1.0, 1.0]
    assert factors("linear", [0, 1, 2, 3]) == warmup
    assert factors("linear", [4, 9, 14, 99]) == pytest.approx([1.0, 0.6, 0.2, 0.2])
    assert factors("cosine", [4, 9, 14, 99]) == pytest.approx([1.0, 0.6, 0.2, 0.2])
    assert factors("inverse-sqrt", [3, 15, 35]) == pytest.approx([1.0, 0.5, 1 / 3])


def test_cosine_equals_torch() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=25)
    for step in range(25):
        mine = learning_rate_factor(step, "cosine", warmup_steps=0, total_steps=25, final_factor=0.0)
        assert mine == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()


@given(
    step=st.integers(0, 10**7),
    schedule=st.sampled_from(["constant", "linear", "cosine", "inverse-sqrt"]),
    warmup=st.integers(0, 1_000),
    length=st.integers(1, 10**6),
    final=st.floats(0, 1),
)
def test_factors_are_in_range(step: int, schedule: Any, warmup: int, length: int, final: float) -> None:
    factor = learning_rate_factor(
        step, schedule, warmup_steps=warmup, total_steps=warmup + length, final_factor=final
    )
    assert 0.0 <= factor <= 1.0


def test_learner_applies_the_schedule_to_both_rates() -> None:
    config = GradientConfig(
        learning_rate=0.1, head_learning_rate=1.0, warmup_steps=2, schedule="linear", total_steps=6
    )
    learner = GradientLearner.for_vectors(nn.Linear(3, 3), 3, config)
    rates = []
    for step in range(8):
        learner.learn([Example(id=str(step), target="a", vector=torch.ones(3).numpy())])
        rates.append({group["peak_lr"]: group["lr"] for group in learner.optimizer.param_groups})
    assert [rate[0.1] for rate in rates] == pytest.approx([0.05, 0.1, 0.1, 0.075, 0.05, 0.025, 0.0, 0.0])
    # The head starts at zero and needs no warm-up.
    assert [rate[1.0] for rate in rates] == pytest.approx([1.0, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("optimizer", "lion"),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("head_learning_rate", -1.0),
        ("momentum", 1.0),
        ("betas", (0.9,)),
        ("betas", (0.9, 1.5)),
        ("weight_decay", -0.1),
        ("schedule", "step"),
        ("warmup_steps", -1),
        ("total_steps", 5),
        ("final_factor", 1.5),
        ("max_gradient_norm", 0.0),
        ("trainable", "everything"),
        ("trainable", "layers:3-1"),
        ("trainable", "layers"),
        ("lora_rank", 0),
        ("lora_alpha", 0),
        ("lora_modules", ()),
        ("dtype", "float16"),
        ("max_length", 2),
        ("max_classes", 0),
        ("seed", -1),
    ],
)
def test_bad_values_are_named(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=field) as caught:
        GradientConfig(**{field: value})
    assert repr(value) in str(caught.value)


def test_falling_schedules_need_an_end() -> None:
    for schedule in ("linear", "cosine"):
        with pytest.raises(
            ConfigError, match=f"total_steps must be above warmup_steps for schedule '{schedule}'"
        ):
            GradientConfig(schedule=schedule)
