"""Labels of targets that are sets of labels."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from everlearn.label_set import labels_in
from everlearn.learning.closed_form.statistics.label_table import LabelTable
from everlearn.learning.closed_form.statistics.members import Members

__all__ = ["EVERY", "SetTable"]

EVERY = ""
"""A class that every example is of, beside its labels: its sums are those of all. No label is blank."""


class SetTable(LabelTable):
    """A ``LabelTable`` whose targets are sets, see ``everlearn.label_set``; class 0 is ``EVERY``."""

    @property
    def num_examples(self) -> int:
        """Examples of whatever labels, or none."""
        return int(self.counts_C[0]) if len(self) else 0

    @property
    def known(self) -> tuple[str, ...]:
        """See LabelTable."""
        return self.by_name[1:]

    def names_in(self, targets: Iterable[str]) -> Iterable[str]:
        """See LabelTable."""
        for target in targets:
            yield EVERY
            yield from labels_in(target)

    def members(self, targets: Iterable[str]) -> Members:
        """See LabelTable."""
        sets = [(EVERY, *labels_in(target)) for target in targets]
        rows = np.repeat(np.arange(len(sets)), [len(one) for one in sets])
        return Members(self.numbers(name for one in sets for name in one), rows.astype(np.int64))

    def _shown(self, names: Iterable[str]) -> tuple[str, ...]:
        return tuple(name for name in names if name != EVERY)
