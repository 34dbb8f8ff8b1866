"""What an integer statistic by class must be able to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, Self

import torch

from everlearn.learning.closed_form.statistics.members import Members
from everlearn.types import Code

__all__ = ["ClassStatistic"]

Bytes = memoryview | bytes


class ClassStatistic(Protocol):
    """Sums over examples by class, exact: a function of the set of examples.

    Classes are numbers; ``Statistics`` knows which label each is.
    """

    def add(self, codes: Sequence[Code], members: Members, num_classes: int) -> None:
        """Add examples of classes in 0…num_classes-1, of which some may be new."""
        ...

    def subtract(self, codes: Sequence[Code], members: Members) -> None:
        """Take examples out that were added before."""
        ...

    def merge(self, other: Self, class_of_other: Sequence[int], num_classes: int) -> None:
        """Add all that ``other`` has; its class k is class ``class_of_other[k]`` here."""
        ...

    def keep_classes(self, kept: Sequence[int]) -> None:
        """Keep these classes, in this order; the others are empty."""
        ...

    def digested(self, order: Sequence[int]) -> Iterator[Bytes]:
        """What a fingerprint is made of, piece by piece, with the classes in the order given."""
        ...

    def tensors(self) -> dict[str, torch.Tensor]:
        """A copy as named tensors; no two statistics use the same name."""
        ...

    def load(self, tensors: Mapping[str, torch.Tensor], num_classes: int) -> None:
        """The inverse of ``tensors``, whose names may be among others."""
        ...
