"""Delayed targets: order, delay and exact continuation."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load, save

from everlearn.errors import ConfigError, StateError
from everlearn.evaluation import DelayedTargets
from everlearn.types import Code, Example, State


@given(st.integers(0, 20), st.lists(st.integers(0, 7), max_size=12))
def test_each_example_is_released_after_the_delay(delay: int, sizes: list[int]) -> None:
    queue = DelayedTargets(delay)
    seen, released = 0, 0
    for size in sizes:
        out = queue.push([Example(id=str(seen + i)) for i in range(size)])
        seen += size
        assert [e.id for e in out] == [str(released + i) for i in range(len(out))]
        released += len(out)
        assert released == max(0, seen - delay)
        assert len(queue) == seen - released <= delay
    assert [e.id for e in queue.flush()] == [str(i) for i in range(released, seen)]
    assert len(queue) == 0


def example(number: int) -> Example:
    rng = np.random.default_rng(number)
    grams = number % 3
    code = Code(
        rng.integers(-128, 128, 6).astype(np.int8),
        np.sort(rng.choice(2**32, grams, replace=False)).astype(np.uint32),
        rng.integers(0, 256, grams).astype(np.uint8),
    )
    vector: npt.NDArray[np.floating[Any]] = rng.normal(size=4)
    if number % 2:
        vector = vector.astype(np.float32)
    return Example(
        id=f"e{number}",
        text="text" if number % 2 else None,
        target=None if number == 3 else f"label {number}",
        domain="d",
        time="2024-05-01",
        fields={"n": number, "deep": {"a": [1, None]}},
        code=code if number % 4 else None,
        vector=vector if number > 4 else None,
    )


def through_disk(state: State) -> State:
    """As a run folder keeps it: safetensors and JSON."""
    return State(load(save(dict(state.tensors))), json.loads(json.dumps(dict(state.data))))


@pytest.mark.parametrize("num_waiting", [0, 1, 4, 9])
def test_state_keeps_everything(num_waiting: int) -> None:
    queue = DelayedTargets(9)
    queue.push([example(i) for i in range(num_waiting)])
    again = DelayedTargets(0)
    again.restore(through_disk(queue.state()))
    assert again.delay == 9
    for one, two in zip(queue.flush(), again.flush(), strict=True):
        for name in ("id", "text", "target", "domain", "time", "fields", "code"):
            assert getattr(one, name) == getattr(two, name)
        if one.code is not None and two.code is not None:
            assert two.code.gram_ids.dtype == np.uint32
        if one.vector is None or two.vector is None:
            assert one.vector is two.vector is None
        else:
            assert one.vector.dtype == two.vector.dtype
            np.testing.assert_array_equal(one.vector, two.vector)


def test_damaged_states_are_refused() -> None:
    queue = DelayedTargets(9)
    queue.push([example(i) for i in range(5)])
    state = queue.state()
    with pytest.raises(StateError, match="version 7"):
        queue.restore(State(state.tensors, {**state.data, "version": 7}))
    with pytest.raises(StateError, match="damaged"):
        queue.restore(State(state.tensors, {"version": 1}))
    missing = {name: t for name, t in state.tensors.items() if name != "code.dense"}
    with pytest.raises(StateError, match="damaged"):
        queue.restore(State(missing, state.data))
    short = {**state.tensors, "code.gram_ids": state.tensors["code.gram_ids"][:-1]}
    with pytest.raises(StateError, match="damaged"):
        queue.restore(State(short, state.data))
    assert len(queue) == 5


def test_negative_delay_is_refused() -> None:
    with pytest.raises(ConfigError, match="delay must not be negative, not -1"):
        DelayedTargets(-1)
