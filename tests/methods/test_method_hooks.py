"""When each hook is called, and what it may do."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from everlearn.learning.batch import Batch
from everlearn.learning.gradient import GradientConfig, GradientLearner
from everlearn.learning.method import BoundaryContext, Method, StepContext
from everlearn.learning.objective import ForwardResult
from everlearn.types import Boundary, Example, State

CONFIG = GradientConfig(
    optimizer="sgd", learning_rate=0.1, head_learning_rate=0.1, warmup_steps=0, max_gradient_norm=None
)
EXAMPLES = [
    Example(id="1", target="a", vector=np.array([1.0, 0.0])),
    Example(id="2", target="b", vector=np.array([0.0, 1.0])),
]


class Stateless(Method):
    def state(self) -> State:
        return State({}, {})

    def restore(self, state: State) -> None:
        pass

    def forget(self, ids: Collection[str]) -> int:
        return 0


class Logging(Stateless):
    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    def note(self, hook: str) -> None:
        self.log.append(f"{self.name}.{hook}")

    def attach(self, model: nn.Module) -> None:
        self.note("attach")

    def extend_batch(self, batch: Batch, context: StepContext) -> Batch:
        self.note("extend_batch")
        return batch

    def penalty(self, batch: Batch, result: ForwardResult, context: StepContext) -> Tensor | None:
        self.note("penalty")
        return None

    def adjust_gradients(self, context: StepContext) -> None:
        self.note("adjust_gradients")

    def after_step(self, fresh: Batch, context: StepContext) -> None:
        assert not torch.is_grad_enabled()
        self.note("after_step")

    def on_boundary(self, boundary: Boundary, context: BoundaryContext) -> None:
        assert context.step == 1
        assert context.labels == ("a", "b")
        self.note("on_boundary")


def test_hooks_run_phase_by_phase_then_in_list_order() -> None:
    log: list[str] = []
    learner = GradientLearner.for_vectors(nn.Identity(), 2, CONFIG, [Logging("x", log), Logging("y", log)])
    learner.learn(EXAMPLES)
    learner.on_boundary(Boundary(reason="request", num_examples=2))
    phases = ["attach", "extend_batch", "penalty", "adjust_gradients", "after_step", "on_boundary"]
    assert log == [f"{name}.{phase}" for phase in phases for name in "xy"]


def test_penalties_add_up_and_leave_the_reported_loss_alone() -> None:
    class Pull(Stateless):
        """Adds the sum of all head weights, whose gradient is one."""

        def penalty(self, batch: Batch, result: ForwardResult, context: StepContext) -> Tensor | None:
            return torch.stack([weight.sum() for weight in context.parameters.values()]).sum()

    plain = GradientLearner.for_vectors(nn.Identity(), 2, CONFIG)
    pulled = GradientLearner.for_vectors(nn.Identity(), 2, CONFIG, [Pull(), Pull()])
    assert plain.learn(EXAMPLES).loss == pulled.learn(EXAMPLES).loss
    torch.testing.assert_close(pulled.model.head.weight, plain.model.head.weight - 2 * 0.1)


def test_adjusted_gradients_are_what_the_optimizer_takes() -> None:
    class Erase(Stateless):
        def adjust_gradients(self, context: StepContext) -> None:
            for parameter in context.parameters.values():
                assert parameter.grad is not None
                parameter.grad.zero_()

    learner = GradientLearner.for_vectors(nn.Identity(), 2, CONFIG, [Erase()])
    learner.learn(EXAMPLES)
    assert not learner.model.head.weight.any()


def test_attach_may_freeze_before_the_optimizer_exists() -> None:
    class Freeze(Stateless):
        def attach(self, model: nn.Module) -> None:
            for name, parameter in model.named_parameters():
                parameter.requires_grad_(name.startswith("head."))

    learner = GradientLearner.for_vectors(nn.Linear(2, 2), 2, CONFIG, [Freeze()])
    assert sum(len(group["params"]) for group in learner.optimizer.param_groups) == 2
    learner.learn(EXAMPLES)
    assert not [name for name in learner.state().tensors if "body" in name]


def test_state_and_forget_must_be_written() -> None:
    with pytest.raises(TypeError, match=r"forget.*restore.*state"):
        type("Careless", (Method,), {})()
