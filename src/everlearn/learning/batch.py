"""What one gradient step learns from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from everlearn.memory import InputArray, ModelExample

__all__ = ["Batch"]


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Fresh examples of the stream, then those that methods added.

    Attributes:
        examples: All examples of the step; the fresh ones come first.
        num_fresh: How many of them are fresh.
    """

    examples: tuple[ModelExample, ...]
    num_fresh: int

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def fresh(self) -> tuple[ModelExample, ...]:
        """The examples that come from the stream."""
        return self.examples[: self.num_fresh]

    @property
    def inputs(self) -> list[InputArray]:
        """Inputs of all examples, as the model takes them."""
        return [example.input for example in self.examples]

    def extended(self, examples: Sequence[ModelExample]) -> Self:
        """The same batch with further examples at its end."""
        return replace(self, examples=(*self.examples, *examples))
