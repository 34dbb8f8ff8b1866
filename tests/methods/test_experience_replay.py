from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from torch import nn

from everlearn.checks import METHOD_CHECKS
from everlearn.errors import ConfigError
from everlearn.learning.batch import Batch
from everlearn.learning.gradient import GradientConfig, GradientLearner
from everlearn.learning.method import Method, StepContext
from everlearn.memory import ModelExample, ReservoirMemory
from everlearn.methods import METHODS, ExperienceReplay, ReplayConfig, create_method
from everlearn.types import Example

MAKERS: dict[str, Callable[[], Method]] = {
    **{name: partial(create_method, name) for name in METHODS},
    "replay, small memory": lambda: ExperienceReplay(ReplayConfig(memory_examples=5, num_replayed=3)),
}


@pytest.mark.parametrize("check", METHOD_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", MAKERS)
def test_contract(check: Callable[[Callable[[], Method]], None], name: str) -> None:
    check(MAKERS[name])


class Recording(ExperienceReplay):
    """Replay that notes the batches it made."""

    def __init__(self, config: ReplayConfig) -> None:
        super().__init__(config)
        self.batches: list[Batch] = []

    def extend_batch(self, batch: Batch, context: StepContext) -> Batch:
        self.batches.append(super().extend_batch(batch, context))
        return self.batches[-1]


def batch(number: int, size: int = 4) -> list[Example]:
    return [
        Example(id=f"{number}-{row}", target=f"label {number}", vector=np.array([number, row], dtype=float))
        for row in range(size)
    ]


def test_batches_are_fresh_examples_and_earlier_ones() -> None:
    method = Recording(ReplayConfig(memory_examples=10, num_replayed=6))
    config = GradientConfig(optimizer="sgd", learning_rate=1e-3, head_learning_rate=1e-3)
    learner = GradientLearner.for_vectors(nn.Identity(), 2, config, [method])
    replayed = [learner.learn(batch(number)).num_replayed for number in range(40)]
    assert replayed == [0, 4, *[6] * 38]
    sources: Counter[int] = Counter()
    for number, made in enumerate(method.batches):
        assert [example.id for example in made.fresh] == [example.id for example in batch(number)]
        added = made.examples[made.num_fresh :]
        assert len({example.id for example in added}) == len(added)
        origins = [int(example.id.split("-")[0]) for example in added]
        assert all(origin < number for origin in origins)
        sources.update(origins)
        for example in added:
            assert example.target == f"label {example.id.split('-')[0]}"
            assert example.input.tolist() == [float(part) for part in example.id.split("-")]
    assert len(sources) > 10


def test_examples_of_labels_that_the_batch_lacks_are_replayed_first() -> None:
    method = Recording(ReplayConfig(memory_examples=60, num_replayed=4))
    learner = GradientLearner.for_vectors(nn.Identity(), 2, methods=[method])
    for number in (0, 1, 0, 1, 0, 1, 0, 1, 0):
        learner.learn([replace(e, id=f"{len(method.batches)}/{e.id}") for e in batch(number, size=6)])
    for made in method.batches[2:]:
        fresh = {example.target for example in made.fresh}
        assert all(example.target not in fresh for example in made.examples[made.num_fresh :])


def test_a_batch_of_all_labels_is_replayed_beside_all_the_same() -> None:
    method = Recording(ReplayConfig(memory_examples=60, num_replayed=4))
    learner = GradientLearner.for_vectors(nn.Identity(), 2, methods=[method])
    for k in range(3):
        learner.learn([replace(e, id=f"{k}/{e.id}") for e in batch(7, size=6)])
    assert [len(made.examples) - made.num_fresh for made in method.batches] == [0, 4, 4]


def test_a_memory_of_ones_own_is_used() -> None:
    memory = ReservoirMemory(3, seed=9)
    method = ExperienceReplay(ReplayConfig(memory_examples=50), memory)
    learner = GradientLearner.for_vectors(nn.Identity(), 2, methods=[method])
    for number in range(4):
        learner.learn(batch(number))
    assert method.memory is memory
    assert len(memory) == 3
    assert method.forget({example.id for example in memory.examples()}) == 3


@pytest.mark.parametrize("field", ["memory_examples", "memory_bytes", "num_replayed"])
def test_bad_sizes_are_named(field: str) -> None:
    with pytest.raises(ConfigError, match=f"{field} must be at least 1, not 0"):
        ReplayConfig(**{field: 0})


def _of_length(name: str, length: int, domain: str) -> ModelExample:
    return ModelExample(id=name, target="", input=np.zeros(length, np.int32), domain=domain)


def test_a_share_counts_lengths_and_prefers_absent_domains() -> None:
    method = ExperienceReplay(ReplayConfig(replay_share=0.5))
    method.memory.add([_of_length(f"old {k}", 7, "news") for k in range(5)])
    method.memory.add([_of_length(f"same {k}", 7, "law") for k in range(5)])
    fresh = Batch(tuple(_of_length(f"fresh {k}", 10, "law") for k in range(6)), 6)
    added = method.extend_batch(fresh, context=None).examples[6:]  # type: ignore[arg-type]
    assert sum(len(one.input) for one in added) == 28  # four of seven fit into thirty
    assert sum(one.domain == "news" for one in added) >= 3


def test_a_share_must_be_positive() -> None:
    with pytest.raises(ConfigError, match="replay_share"):
        ReplayConfig(replay_share=0.0)
