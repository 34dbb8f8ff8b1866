"""What every replay memory must do."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from everlearn.memory import Memory, ModelExample
from everlearn.types import State

__all__ = ["MEMORY_CHECKS", "check_memory"]

MakeMemory = Callable[[], Memory]


def _examples(count: int, start: int = 0) -> list[ModelExample]:
    return [
        ModelExample(
            f"example {index}",
            f"label {index % 3}",
            np.arange(index % 7 + 1, dtype=np.int32),
            domain=None if index % 2 else "domain",
        )
        for index in range(start, start + count)
    ]


def _ids(examples: list[ModelExample]) -> list[str]:
    return [example.id for example in examples]


def _numpy_generator() -> npt.NDArray[np.uint32]:
    return np.asarray(np.random.get_state(legacy=False)["state"]["key"])


def _through_json(state: State) -> State:
    return State(
        {name: tensor.clone() for name, tensor in state.tensors.items()}, json.loads(json.dumps(state.data))
    )


def check_empty_memory_samples_nothing(make_memory: MakeMemory) -> None:
    """A new memory is empty and gives an empty sample."""
    memory = make_memory()
    assert len(memory) == 0
    assert memory.sample(5) == []
    assert memory.examples() == []
    assert memory.remove(["nothing"]) == 0


def check_memory_counts_its_bytes(make_memory: MakeMemory) -> None:
    """``num_bytes`` is the sum over stored examples, after additions and removals."""
    memory = make_memory()
    memory.add(_examples(200))
    memory.remove(_ids(memory.examples())[::2])
    assert memory.num_bytes == sum(example.num_bytes for example in memory.examples())
    assert len(memory) == len(memory.examples())


def check_memory_samples_without_replacement(make_memory: MakeMemory) -> None:
    """A sample holds different stored examples, at most as many as are stored."""
    memory = make_memory()
    memory.add(_examples(50))
    stored = set(_ids(memory.examples()))
    assert stored
    for count in (1, 5, 1_000):
        drawn = _ids(memory.sample(count))
        assert len(drawn) == min(count, len(stored))
        assert len(set(drawn)) == len(drawn)
        assert set(drawn) <= stored


def check_memory_removes(make_memory: MakeMemory) -> None:
    """A removed example is never drawn again; what was not stored is not counted."""
    memory = make_memory()
    memory.add(_examples(50))
    gone = _ids(memory.examples())[:3]
    before = len(memory)
    assert memory.remove([*gone, "never seen"]) == len(gone)
    assert len(memory) == before - len(gone)
    assert not set(gone) & set(_ids(memory.sample(1_000)))
    assert memory.remove(gone) == 0


def check_memory_leaves_global_generators_alone(make_memory: MakeMemory) -> None:
    """Neither torch's nor numpy's global generator is drawn from."""
    torch_before, numpy_before = torch.get_rng_state(), _numpy_generator()
    memory = make_memory()
    memory.add(_examples(300))
    memory.sample(20)
    assert torch.equal(torch_before, torch.get_rng_state())
    assert np.array_equal(numpy_before, _numpy_generator())


def check_memory_resumes_to_the_bit(make_memory: MakeMemory) -> None:
    """A restored memory keeps and draws the same as one that went on, through JSON as well."""
    memory, restored = make_memory(), make_memory()
    memory.add(_examples(150))
    memory.sample(7)
    memory.remove(_ids(memory.examples())[:2])
    restored.add(_examples(10, start=900))
    restored.restore(_through_json(memory.state()))
    for round_number in range(3):
        for store in (memory, restored):
            store.add(_examples(60, start=150 + 60 * round_number))
        for left, right in zip(memory.sample(9), restored.sample(9), strict=True):
            assert (left.id, left.target, left.domain) == (right.id, right.target, right.domain)
            assert left.input.dtype == right.input.dtype
            assert np.array_equal(left.input, right.input)
    assert _ids(memory.examples()) == _ids(restored.examples())
    assert memory.num_bytes == restored.num_bytes


def check_memory_state_is_a_copy(make_memory: MakeMemory) -> None:
    """What the memory does later does not change a state that was taken before."""
    memory = make_memory()
    memory.add(_examples(20))
    state = memory.state()
    before = json.dumps(state.data), {name: tensor.clone() for name, tensor in state.tensors.items()}
    memory.add(_examples(100, start=20))
    memory.sample(5)
    assert json.dumps(state.data) == before[0]
    assert all(torch.equal(state.tensors[name], tensor) for name, tensor in before[1].items())


MEMORY_CHECKS: tuple[Callable[[MakeMemory], None], ...] = (
    check_empty_memory_samples_nothing,
    check_memory_counts_its_bytes,
    check_memory_samples_without_replacement,
    check_memory_removes,
    check_memory_leaves_global_generators_alone,
    check_memory_resumes_to_the_bit,
    check_memory_state_is_a_copy,
)


def check_memory(make_memory: MakeMemory) -> None:
    """Run all checks of a memory.

    Args:
        make_memory: Makes a new, empty memory with room for at least 10 small examples; the same
            every time.

    Raises:
        AssertionError: The memory breaks the contract.

    Example:
        >>> from everlearn.memory import ReservoirMemory
        >>> check_memory(lambda: ReservoirMemory(max_examples=30))
    """
    for check in MEMORY_CHECKS:
        check(make_memory)
