"""What every continual-learning method must do."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from everlearn.learning.batch import Batch
from everlearn.learning.gradient import GradientConfig, GradientLearner
from everlearn.learning.method import Method, StepContext
from everlearn.types import Boundary, Example, State

__all__ = ["METHOD_CHECKS", "check_method"]

MakeMethod = Callable[[], Method]

_NUM_FEATURES = 6
_CONFIG = GradientConfig(optimizer="adamw", learning_rate=1e-2, head_learning_rate=1e-2, warmup_steps=2)
_BOUNDARY = Boundary(reason="experience", num_examples=40, name="first")


def _network() -> nn.Module:
    network = nn.Sequential(nn.Linear(_NUM_FEATURES, 8), nn.Tanh())
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    return network


def _learner(make_method: MakeMethod) -> GradientLearner:
    with torch.random.fork_rng(devices=[]):
        return GradientLearner.for_vectors(_network(), 8, _CONFIG, [make_method()])


def _batches(count: int, start: int = 0) -> list[list[Example]]:
    """Batches of 8 whose labels change over the stream, as continual learning is about."""
    batches = []
    for batch in range(start, start + count):
        generator = np.random.default_rng(batch)
        labels = [f"label {batch // 3 + int(offset)}" for offset in generator.integers(0, 2, 8)]
        batches.append(
            [
                Example(id=f"{batch}-{row}", target=label, vector=generator.normal(size=_NUM_FEATURES))
                for row, label in enumerate(labels)
            ]
        )
    return batches


def _learn(learner: GradientLearner, batches: list[list[Example]]) -> None:
    for batch in batches:
        learner.learn(batch)


def _numpy_generator() -> npt.NDArray[np.uint32]:
    return np.asarray(np.random.get_state(legacy=False)["state"]["key"])


def _through_json(state: State) -> State:
    return State(
        {name: tensor.clone() for name, tensor in state.tensors.items()}, json.loads(json.dumps(state.data))
    )


def check_method_learns(make_method: MakeMethod) -> None:
    """Steps with the method give finite losses and change the weights."""
    learner = _learner(make_method)
    for batch in _batches(6):
        report = learner.learn(batch)
        assert report.loss is not None
        assert np.isfinite(report.loss)
        assert report.num_learned == len(batch)
    learner.on_boundary(_BOUNDARY)
    _learn(learner, _batches(3, start=6))
    assert all(torch.isfinite(parameter).all() for parameter in learner.model.parameters())
    assert float(learner.model.head.weight.detach().abs().sum()) > 0


def check_method_is_deterministic(make_method: MakeMethod) -> None:
    """Two learners with the method that see the same stream are equal to the bit."""
    fingerprints = []
    for _ in range(2):
        learner = _learner(make_method)
        _learn(learner, _batches(5))
        fingerprints.append(learner.fingerprint())
    assert fingerprints[0] == fingerprints[1]


def check_method_leaves_global_generators_alone(make_method: MakeMethod) -> None:
    """No hook draws from torch's or numpy's global generator."""
    learner = _learner(make_method)
    torch_before, numpy_before = torch.get_rng_state(), _numpy_generator()
    _learn(learner, _batches(4))
    learner.on_boundary(_BOUNDARY)
    _learn(learner, _batches(2, start=4))
    assert torch.equal(torch_before, torch.get_rng_state())
    assert np.array_equal(numpy_before, _numpy_generator())


def check_method_leaves_fresh_examples_first(make_method: MakeMethod) -> None:
    """``extend_batch`` only appends, and what it appends has known labels and no fresh example."""
    method = make_method()
    seen: list[tuple[Batch, Batch, tuple[str, ...]]] = []

    class Watching(Method):
        """The method, with a look at what it makes of each batch."""

        def extend_batch(self, batch: Batch, context: StepContext) -> Batch:
            extended = method.extend_batch(batch, context)
            seen.append((batch, extended, context.labels))
            return extended

        def after_step(self, fresh: Batch, context: StepContext) -> None:
            method.after_step(fresh, context)

        def state(self) -> State:
            return method.state()

        def restore(self, state: State) -> None:
            method.restore(state)

        def forget(self, ids: object) -> int:
            return 0

    _learn(_learner(Watching), _batches(6))
    for batch, extended, labels in seen:
        assert extended.num_fresh == batch.num_fresh
        assert extended.fresh == batch.examples
        added = extended.examples[extended.num_fresh :]
        assert {example.target for example in added} <= set(labels)
        assert not {example.id for example in added} & {example.id for example in batch.examples}


def check_method_resumes_to_the_bit(make_method: MakeMethod) -> None:
    """A learner restored between two steps goes on as one that never stopped, boundary included."""
    learner, restored = _learner(make_method), _learner(make_method)
    _learn(learner, _batches(4))
    _learn(restored, _batches(1, start=50))
    restored.restore(_through_json(learner.state()))
    assert restored.fingerprint() == learner.fingerprint()
    for trained in (learner, restored):
        _learn(trained, _batches(3, start=4))
        trained.on_boundary(_BOUNDARY)
        _learn(trained, _batches(3, start=7))
    assert restored.fingerprint() == learner.fingerprint()


def check_method_state_is_a_copy(make_method: MakeMethod) -> None:
    """Further steps do not change a state that was taken before."""
    learner = _learner(make_method)
    _learn(learner, _batches(3))
    state = learner.methods[0].state()
    before = json.dumps(state.data), {name: tensor.clone() for name, tensor in state.tensors.items()}
    _learn(learner, _batches(3, start=3))
    learner.on_boundary(_BOUNDARY)
    assert json.dumps(state.data) == before[0]
    assert all(torch.equal(state.tensors[name], tensor) for name, tensor in before[1].items())


def check_method_forgets_ids(make_method: MakeMethod) -> None:
    """After ``forget`` no example of those ids is stored: neither counted again nor in the state."""
    learner = _learner(make_method)
    batches = _batches(5)
    _learn(learner, batches)
    method = learner.methods[0]
    ids = {example.id for batch in batches for example in batch}
    assert method.forget({"never seen"}) == 0
    assert 0 <= method.forget(ids) <= len(ids)
    assert method.forget(ids) == 0
    stored = json.dumps(method.state().data)
    assert not [example_id for example_id in ids if json.dumps(example_id) in stored]
    _learn(learner, _batches(2, start=5))


METHOD_CHECKS: tuple[Callable[[MakeMethod], None], ...] = (
    check_method_learns,
    check_method_is_deterministic,
    check_method_leaves_global_generators_alone,
    check_method_leaves_fresh_examples_first,
    check_method_resumes_to_the_bit,
    check_method_state_is_a_copy,
    check_method_forgets_ids,
)


def check_method(make_method: MakeMethod) -> None:
    """Run all checks of a method, on a small network over vectors.

    Args:
        make_method: Makes a new method; the same every time.

    Raises:
        AssertionError: The method breaks the contract.

    Example:
        >>> from everlearn.methods import ExperienceReplay
        >>> check_method(ExperienceReplay)
    """
    for check in METHOD_CHECKS:
        check(make_method)
