from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tests.methods.two_domains import (
    BOUNDARY,
    config,
    learn,
    losses_of_two_domains,
    plain_losses,
    pretrained,
    saved_and_loaded,
)
from torch import Tensor, nn

from everlearn.checks import METHOD_CHECKS
from everlearn.errors import ConfigError, ModelError, StateError
from everlearn.learning.gradient import GradientConfig, GradientLearner
from everlearn.learning.gradient.trainable import select_trainable_parameters
from everlearn.learning.language import LanguageLearner
from everlearn.learning.method import Method
from everlearn.methods import OrthogonalConfig, OrthogonalSubspaces, create_method
from everlearn.types import Example, State


class WithAdapters(OrthogonalSubspaces):
    """Orthogonal subspaces that give the network adapters first."""

    def attach(self, model: nn.Module) -> None:
        body: Any = model.body
        select_trainable_parameters(body.network, 0, GradientConfig(trainable="lora", lora_rank=3))
        model.head.requires_grad_(True)


def make(method: type[OrthogonalSubspaces], **settings: Any) -> Callable[[], Method]:
    return lambda: method(OrthogonalConfig(**settings))


MAKERS: dict[str, Callable[[], Method]] = {
    "default": lambda: create_method("orthogonal"),
    "small rank": make(OrthogonalSubspaces, max_rank=2),
    "inputs, penalty": make(OrthogonalSubspaces, mode="penalty", weight=0.1),
    "weights": make(OrthogonalSubspaces, directions="weights", energy=0.5),
    "adapters, inputs": make(WithAdapters, max_rank=2),
    "adapters, weights": make(WithAdapters, directions="weights"),
    "adapters, weights, penalty": make(WithAdapters, directions="weights", mode="penalty", weight=0.1),
}


@pytest.mark.parametrize("check", METHOD_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", MAKERS)
def test_contract(check: Callable[[Callable[[], Method]], None], name: str) -> None:
    check(MAKERS[name])


def vectors(number: int, basis: np.ndarray[Any, Any]) -> list[Example]:
    generator = np.random.default_rng(number)
    rows = generator.normal(size=(8, len(basis))) @ basis
    return [
        Example(id=f"{number}-{k}", target="ab"[int(row.sum() > 0)], vector=row) for k, row in enumerate(rows)
    ]


def classifier(method: Method, **settings: Any) -> GradientLearner:
    """Two layers, with all that may take an update out of a subspace: AdamW, its weight decay, clipping."""
    network = nn.Sequential(nn.Linear(12, 10), nn.Tanh(), nn.Linear(10, 6))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    values = {"learning_rate": 3e-2, "weight_decay": 0.1, "max_gradient_norm": 0.5, **settings}
    return GradientLearner.for_vectors(network, 6, GradientConfig(**values), [method])


def outputs(learner: GradientLearner, inputs: np.ndarray[Any, Any]) -> Tensor:
    network: Any = learner.model.body.network
    with torch.no_grad():
        result: Tensor = network[0](torch.from_numpy(inputs).float())
    return result


@pytest.mark.parametrize("trainable", ["all", "lora"])
def test_outputs_for_held_inputs_stay_and_others_are_learned(trainable: str) -> None:
    """Inputs of the first domain span 3 of 12 dimensions; all of their energy is held."""
    basis = np.random.default_rng(1).normal(size=(3, 12))
    other = np.random.default_rng(2).normal(size=(5, 12))
    method = OrthogonalSubspaces(OrthogonalConfig(energy=1.0))
    learner = classifier(method, trainable=trainable, lora_rank=6)
    for number in range(10):
        learner.learn(vectors(number, basis))
    held_inputs = np.random.default_rng(3).normal(size=(20, 3)) @ basis
    at_boundary = outputs(learner, held_inputs)
    weights = {name: one.detach().clone() for name, one in learner.model.named_parameters()}
    learner.on_boundary(BOUNDARY)
    torch.testing.assert_close(outputs(learner, held_inputs), at_boundary, rtol=0, atol=0)
    elsewhere = outputs(learner, np.eye(12))
    for number in range(10, 40):
        learner.learn(vectors(number, other))
    assert (outputs(learner, np.eye(12)) - elsewhere).abs().max() > 0.1
    # A bias is no matrix; it moves.
    bias = dict(learner.model.named_parameters()).get("body.network.0.bias")
    moved = outputs(learner, held_inputs) - at_boundary
    if bias is not None:  # with adapters it has another name, and is frozen
        moved -= bias.detach() - weights["body.network.0.bias"]
    assert moved.abs().max() < 1e-4  # of outputs of about 1, after 30 steps in float32
    for (name, side), held in method._held.items():
        assert side == "inputs"
        change = dict(learner.model.named_parameters())[name].detach() - weights[name]
        assert (change @ held.directions.basis_KD.T).abs().max() < 1e-6
    assert method._held[
        "body.network.0." + ("weight" if trainable == "all" else "lora_A.default.weight"), "inputs"
    ].directions.basis_KD.shape == (3, 12)


def test_rows_of_adapters_are_held() -> None:
    """directions="weights": B·A does the same in its own directions; B rests where it touches them."""
    method = OrthogonalSubspaces(OrthogonalConfig(directions="weights", energy=0.9))
    learner = classifier(method, trainable="lora", lora_rank=4)
    for number in range(10):
        learner.learn(vectors(number, np.eye(12)))
    parameters = {name: one for name, one in learner.model.named_parameters() if "network.0" in name}
    (down,) = (one for name, one in parameters.items() if "lora_A" in name)
    (up,) = (one for name, one in parameters.items() if "lora_B" in name)
    product = (up @ down).detach().clone()
    learner.on_boundary(BOUNDARY)
    assert torch.equal((up @ down).detach(), product)
    name = next(name for name in parameters if "lora_A" in name)
    basis = method._held[name, "inputs"].directions.basis_KD.clone()
    _, values, right = torch.linalg.svd(product.double())
    shares = torch.cumsum(values.square(), 0) / values.square().sum()
    expected = right[: 1 + int((shares < 0.9).sum())]
    torch.testing.assert_close(basis.T @ basis, (expected.T @ expected).float(), rtol=0, atol=1e-5)
    before = down.detach().clone()
    for number in range(10, 30):
        learner.learn(vectors(number, np.eye(12)[:6]))
    assert ((down.detach() - before) @ basis.T).abs().max() < 1e-6
    change = (up @ down).detach() - product
    assert (change @ basis.T).abs().max() < 1e-5
    assert change.abs().max() > 1e-2
    learner.on_boundary(BOUNDARY)
    now = method._held[name, "inputs"].directions.basis_KD
    torch.testing.assert_close(basis @ now.T @ now, basis, rtol=0, atol=1e-5)  # what was held still is
    torch.testing.assert_close(now @ now.T, torch.eye(len(now)), rtol=0, atol=1e-6)


def test_leading_directions_of_whole_matrices_are_held_on_both_sides() -> None:
    method = OrthogonalSubspaces(OrthogonalConfig(directions="weights", energy=0.8))
    learner = classifier(method)
    learner.learn(vectors(0, np.eye(12)))
    learner.on_boundary(BOUNDARY)
    weight = dict(learner.model.named_parameters())["body.network.0.weight"]
    before = weight.detach().clone()
    left, values, right = torch.linalg.svd(before.double())
    rank = 1 + int((torch.cumsum(values.square(), 0) < 0.8 * values.square().sum()).sum())
    for number in range(1, 20):
        learner.learn(vectors(number, np.eye(12)))
    change = (weight.detach() - before).double()
    assert (change @ right[:rank].T).abs().max() < 1e-5  # directions in float32 against float64
    assert (left[:, :rank].T @ change).abs().max() < 1e-5
    assert change.abs().max() > 1e-2
    assert {side for _, side in method._held} == {"inputs", "outputs"}
    assert not [name for name, _ in method._held if "head" in name]


def test_memory_is_bounded() -> None:
    method = OrthogonalSubspaces(OrthogonalConfig(energy=1.0, max_rank=4))
    learner = classifier(method)
    for domain in range(6):
        for number in range(3):
            learner.learn(vectors(number, np.random.default_rng(domain).normal(size=(3, 12))))
        learner.on_boundary(BOUNDARY)
        for held in method._held.values():
            assert len(held.directions) <= 4
            basis = held.directions.basis_KD
            torch.testing.assert_close(basis @ basis.T, torch.eye(len(basis)), rtol=0, atol=1e-6)


def test_a_step_that_fails_leaves_no_inputs_and_no_hooks_are_left() -> None:
    method = OrthogonalSubspaces()
    learner = classifier(method)
    learner.learn(vectors(0, np.eye(12)))
    before = method.state().tensors
    weight = learner.model.head.weight
    kept = weight.detach().clone()
    with torch.no_grad():
        weight.fill_(float("nan"))
    with pytest.raises(ModelError, match="diverged"):
        learner.learn(vectors(5, np.eye(12)))
    with torch.no_grad():
        weight.copy_(kept)
    after = method.state().tensors
    assert all(torch.equal(after[name], one) for name, one in before.items())
    learner.learn(vectors(1, np.eye(12)))
    assert not any(module._forward_pre_hooks for module in learner.model.modules())
    learner.predict(vectors(2, np.eye(12)))
    total = method.state().tensors["sketches/body.network.0.weight/total"]
    rows = [np.asarray(one.vector) for number in (0, 1) for one in vectors(number, np.eye(12))]
    assert float(total) == pytest.approx(float(np.square(rows).sum()), rel=1e-5)


@pytest.mark.parametrize("trainable", ["lora", "all"])
def test_less_of_the_first_domain_is_forgotten(trainable: str) -> None:
    """With 30 steps a domain: adapters 1.37 → 2.12 plain, → 1.74; whole model 0.75 → 2.34, → 1.24."""
    settings = {"trainable": trainable, "learning_rate": 1e-2 if trainable == "lora" else 3e-3}
    plain = plain_losses(**settings)
    held = losses_of_two_domains([OrthogonalSubspaces()], **settings)
    assert held[0] == plain[0]  # nothing is held before a boundary
    assert held[1] - held[0] < 0.75 * (plain[1] - plain[0])
    assert held[2] < plain[2] + 0.4  # of about 2.5 that are learned with the whole model


def test_a_penalty_holds_too() -> None:
    plain = plain_losses(trainable="lora", learning_rate=1e-2)
    penalty = OrthogonalSubspaces(OrthogonalConfig(mode="penalty", weight=0.05))
    held = losses_of_two_domains([penalty], trainable="lora", learning_rate=1e-2)
    assert held[1] - held[0] < 0.75 * (plain[1] - plain[0])
    assert held[2] < plain[2] + 0.2


@pytest.mark.parametrize("trainable", ["lora", "all"])
@pytest.mark.parametrize("directions", ["inputs", "weights"])
def test_a_language_model_with_it_resumes_to_the_bit(directions: Any, trainable: str) -> None:
    def made() -> LanguageLearner:
        method = OrthogonalSubspaces(OrthogonalConfig(directions=directions))
        return LanguageLearner(pretrained(), config(trainable=trainable), [method])

    learner, restored = made(), made()
    learn(learner, "first", range(3))
    learner.on_boundary(BOUNDARY)
    learn(learner, "second", range(2))
    learn(restored, "second", range(50, 52))
    restored.on_boundary(BOUNDARY)
    restored.restore(saved_and_loaded(learner.state()))
    for one in (learner, restored):
        learn(one, "second", range(2, 4))
        one.on_boundary(BOUNDARY)
        learn(one, "first", range(4, 6))
    assert restored.fingerprint() == learner.fingerprint()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mode", "hard"),
        ("directions", "rows"),
        ("weight", -0.5),
        ("energy", 0.0),
        ("energy", 1.5),
        ("max_rank", 0),
        ("seed", -1),
    ],
)
def test_bad_settings_are_named(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"{field} must be"):
        OrthogonalConfig(**{field: value})


def test_states_of_others_are_refused() -> None:
    method = OrthogonalSubspaces(OrthogonalConfig(energy=1.0))
    learner = classifier(method)
    learner.learn(vectors(0, np.eye(12)))
    learner.on_boundary(BOUNDARY)
    state = method.state()
    with pytest.raises(StateError, match="damaged"):
        method.restore(State(state.tensors, {"held": [["x", "middle"]], "sketches": []}))
    with pytest.raises(StateError, match="must be saved as"):
        method.restore(State({}, state.data))
    with pytest.raises(StateError, match="lack"):
        method.restore(State(state.tensors, {"held": [], "sketches": ["x"]}))
    other = OrthogonalSubspaces()
    other.restore(state)
    small = GradientLearner.for_vectors(nn.Sequential(nn.Linear(5, 10)), 10, methods=[other])
    with pytest.raises(StateError, match="of another model"):
        small.learn(vectors(0, np.eye(5)))
