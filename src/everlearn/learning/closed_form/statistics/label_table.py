"""Labels, their numbers, and how many examples each has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from everlearn.errors import ConfigError, StateError
from everlearn.learning.closed_form.statistics.members import Members

__all__ = ["LabelTable"]

IntArray = npt.NDArray[np.int64]


class LabelTable:
    """Numbers labels in the order in which they appear, and counts their examples.

    A target is a label here; ``SetTable`` is that of targets which are sets.

    Attributes:
        names: Labels by number.
        counts_C: Examples of each.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.counts_C: IntArray = np.zeros(0, np.int64)
        self._number_of: dict[str, int] = {}
        self._sorted: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.names)

    @property
    def num_examples(self) -> int:
        """Examples of all labels."""
        return int(self.counts_C.sum())

    @property
    def known(self) -> tuple[str, ...]:
        """Labels that can be predicted, by name."""
        return self.by_name

    def names_in(self, targets: Iterable[str]) -> Iterable[str]:
        """The labels of each target, one after the other."""
        return targets

    def members(self, targets: Iterable[str]) -> Members:
        """The classes of examples of these targets; KeyError: a label has no number."""
        return Members(self.numbers(targets))

    @property
    def by_name(self) -> tuple[str, ...]:
        """All labels in the order of their names."""
        if self._sorted is None:  # sorted once, not at each batch
            self._sorted = tuple(sorted(self.names))
        return self._sorted

    def order(self) -> list[int]:
        """The numbers in the order of the names."""
        return [self._number_of[name] for name in self.by_name]

    def new_among(self, labels: Iterable[str]) -> tuple[str, ...]:
        """Those that have no number yet, each once."""
        return tuple(dict.fromkeys(label for label in labels if label not in self._number_of))

    def new_within(self, max_classes: int, targets: Iterable[str]) -> tuple[str, ...]:
        """The new labels of these targets. Raises ConfigError where that makes more than may be."""
        new = self._shown(self.new_among(self.names_in(targets)))
        if new and len(self.known) + len(new) > max_classes:
            raise ConfigError(
                f"label {new[-1]!r} would be one more than max_classes={max_classes}; "
                "raise it, or check that the target field holds labels and not free text"
            )
        return new

    def numbers(self, labels: Iterable[str]) -> IntArray:
        """The number of each; KeyError: a label has none."""
        return np.array([self._number_of[label] for label in labels], dtype=np.int64)

    def require_held(self, targets: Sequence[str]) -> None:
        """Raise StateError where there are not so many examples of the labels of these targets."""
        unknown = self.new_among(self.names_in(targets))
        if unknown:
            raise StateError(f"cannot forget examples of label {unknown[0]!r}: no such label was learned")
        remaining_C = self.counts_C - np.bincount(self.members(targets).classes_N, minlength=len(self))
        if (remaining_C < 0).any():
            label = self.names[int(remaining_C.argmin())]
            raise StateError(f"cannot forget more examples of label {label!r} than were learned")

    def extend(self, labels: Iterable[str]) -> None:
        """Give numbers to labels that have none."""
        new = self.new_among(labels)
        self._replace([*self.names, *new], np.append(self.counts_C, np.zeros(len(new), np.int64)))

    def count(self, classes_N: IntArray, sign: int = 1) -> None:
        """Count examples by their classes, or no longer."""
        self.counts_C = self.counts_C + sign * np.bincount(classes_N, minlength=len(self))

    def without_examples(self) -> tuple[str, ...]:
        """Labels that no example has any more."""
        return self._shown(name for name, num in zip(self.names, self.counts_C, strict=True) if not num)

    def _shown(self, names: Iterable[str]) -> tuple[str, ...]:
        """Those that are labels."""
        return tuple(names)

    def keep(self, kept: Sequence[int]) -> None:
        """Keep these numbers, in this order."""
        self._replace([self.names[k] for k in kept], self.counts_C[list(kept)])

    def load(self, names: Iterable[str], counts_C: IntArray) -> None:
        """Replace everything."""
        self._replace(list(names), counts_C)

    def _replace(self, names: list[str], counts_C: IntArray) -> None:
        if names != self.names:
            self._sorted = None
            self._number_of = {name: k for k, name in enumerate(names)}
        self.names, self.counts_C = names, counts_C
