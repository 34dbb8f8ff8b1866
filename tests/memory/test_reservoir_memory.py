from __future__ import annotations

import json
import random
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from everlearn.checks import MEMORY_CHECKS
from everlearn.errors import ConfigError, StateError
from everlearn.memory import Memory, ModelExample, ReservoirMemory
from everlearn.types import State


def example(index: int, length: int = 3, target: str = "label") -> ModelExample:
    return ModelExample(str(index), target, np.arange(length, dtype=np.int32))


@pytest.mark.parametrize("check", MEMORY_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("bounds", [(1_000, 10**6), (40, 10**6), (1_000, 15_000)])
def test_contract(check: Callable[[Callable[[], Memory]], None], bounds: tuple[int, int]) -> None:
    check(lambda: ReservoirMemory(*bounds, seed=5))


def test_content_is_uniform_over_the_stream() -> None:
    stream = [example(index) for index in range(200)]
    kept = np.zeros(200)
    for seed in range(400):
        memory = ReservoirMemory(20, seed=seed)
        memory.add(stream)
        assert len(memory) == 20
        kept[[int(stored.id) for stored in memory.examples()]] += 1
    assert stats.chisquare(kept).pvalue > 0.01
    # Early, middle and late parts of the stream alike.
    assert stats.chisquare(kept.reshape(4, 50).sum(axis=1)).pvalue > 0.01


def test_content_stays_uniform_when_bytes_are_the_bound() -> None:
    # Every second example is 20 times as long; a bias against long ones would show here.
    stream = [example(index, length=20 if index % 2 else 400) for index in range(200)]
    long_share = []
    for seed in range(200):
        memory = ReservoirMemory(1_000, max_bytes=60_000, seed=seed)
        memory.add(stream)
        long_share.append(np.mean([len(stored.input) == 400 for stored in memory.examples()]))
    assert abs(np.mean(long_share) - 0.5) < 0.03


def test_draws_are_uniform() -> None:
    memory = ReservoirMemory(30)
    memory.add([example(index) for index in range(30)])
    drawn = np.zeros(30)
    for _ in range(600):
        drawn[[int(stored.id) for stored in memory.sample(5)]] += 1
    assert drawn.sum() == 3_000
    assert stats.chisquare(drawn).pvalue > 0.01


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 300), max_size=60),
    max_examples=st.integers(1, 20),
    max_bytes=st.integers(500, 20_000),
    order=st.randoms(use_true_random=False),
)
def test_bounds_hold_and_order_does_not_matter(
    lengths: list[int], max_examples: int, max_bytes: int, order: random.Random
) -> None:
    stream = [example(index, length) for index, length in enumerate(lengths)]
    memory = ReservoirMemory(max_examples, max_bytes)
    for one in stream:
        memory.add([one])
        assert len(memory) <= max_examples
        assert memory.num_bytes <= max_bytes
    assert memory.num_seen == len(stream)
    assert memory.num_refused == sum(one.num_bytes > max_bytes for one in stream)
    if max_bytes > 20 * example(0, 300).num_bytes:
        order.shuffle(stream)
        shuffled = ReservoirMemory(max_examples, max_bytes)
        shuffled.add(stream)
        assert [one.id for one in shuffled.examples()] == [one.id for one in memory.examples()]


def test_counted_bytes_cover_what_python_takes() -> None:
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        memory = ReservoirMemory(2_000)
        for index in range(2_000):
            memory.add([example(index, 12, target="a label of usual length")])
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert taken < memory.num_bytes < 3 * taken


def test_same_id_replaces_and_removal_makes_no_bias() -> None:
    memory = ReservoirMemory(10)
    memory.add([example(1), example(1, target="corrected")])
    assert [stored.target for stored in memory.examples()] == ["corrected"]
    memory.add([example(index) for index in range(2, 100)])
    kept = {stored.id for stored in memory.examples()}
    memory.remove(list(kept)[:4])
    # What was denied before does not come in because there is room now.
    memory.add([example(index) for index in range(2, 100) if str(index) not in kept])
    assert {stored.id for stored in memory.examples()} < kept


def test_restore_refuses_what_does_not_fit() -> None:
    memory = ReservoirMemory(10, seed=1)
    memory.add([example(index) for index in range(20)])
    state = memory.state()
    with pytest.raises(StateError, match="seed=1"):
        ReservoirMemory(10, seed=2).restore(state)
    with pytest.raises(StateError, match="max_examples"):
        ReservoirMemory(11, seed=1).restore(state)
    with pytest.raises(StateError, match="ids"):
        memory.restore(State(state.tensors, {**state.data, "ids": state.data["ids"][:-1]}))
    with pytest.raises(StateError, match="inputs"):
        memory.restore(State({"generator": state.tensors["generator"]}, state.data))
    with pytest.raises(StateError, match="threshold"):
        memory.restore(
            State(state.tensors, {key: value for key, value in state.data.items() if key != "threshold"})
        )
    assert json.dumps(memory.state().data) == json.dumps(state.data)
    assert all(torch.equal(memory.state().tensors[name], state.tensors[name]) for name in state.tensors)


def test_bad_bounds_and_mixed_inputs() -> None:
    with pytest.raises(ConfigError, match="max_examples must be at least 1, not 0"):
        ReservoirMemory(0)
    with pytest.raises(ConfigError, match="max_bytes"):
        ReservoirMemory(1, max_bytes=-5)
    memory = ReservoirMemory(5)
    memory.add([example(1), ModelExample("2", "label", np.ones(3, dtype=np.float32))])
    with pytest.raises(ValueError, match="one dtype"):
        memory.state()
