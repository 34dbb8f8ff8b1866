"""What every replay memory can do."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol, runtime_checkable

from everlearn.memory.model_example import ModelExample
from everlearn.types import State

__all__ = ["Memory"]


@runtime_checkable
class Memory(Protocol):
    """A bounded store of examples that replay draws from.

    ``everlearn.checks.check_memory`` holds an implementation to this contract.
    """

    def __len__(self) -> int:
        """Number of examples stored."""
        ...

    @property
    def num_bytes(self) -> int:
        """Bytes stored, counted as ``ModelExample.num_bytes``; never above the memory's bound."""
        ...

    def add(self, examples: Sequence[ModelExample]) -> None:
        """Offer examples; the memory decides which it keeps."""
        ...

    def sample(self, count: int) -> list[ModelExample]:
        """Draw ``min(count, len(self))`` different examples; advances the memory's own generator."""
        ...

    def remove(self, ids: Collection[str]) -> int:
        """Remove the examples with these ids; returns how many were there."""
        ...

    def examples(self) -> list[ModelExample]:
        """All stored examples."""
        ...

    def state(self) -> State:
        """A copy of everything that decides what the memory does next."""
        ...

    def restore(self, state: State) -> None:
        """Replace the state. Raises StateError where it does not fit."""
        ...
