"""Streams whose targets come late, or wrong and corrected: the truth is known in the end all the same."""

from __future__ import annotations

import random
from collections.abc import Sequence

from everlearn.types import Example

__all__ = ["with_later_targets"]

_LATE, _CORRECTED = 0.05, 0.05
_WITHIN = 400


def with_later_targets(stream: Sequence[Example], seed: int) -> list[Example]:
    """The stream with some examples bare, some with a wrong target, and what is right for both later on.

    Args:
        stream: Examples with targets.
        seed: Of which they are and when their targets come.
    """
    chance = random.Random(seed)
    labels = sorted({str(one.target) for one in stream})
    placed: list[tuple[float, Example]] = []
    for at, one in enumerate(stream):
        draw = chance.random()
        if draw < _LATE:
            placed += [(at, one.with_target(None)), (at + chance.uniform(0.5, _WITHIN), one)]
        elif draw < _LATE + _CORRECTED:
            wrong = one.with_target(chance.choice([label for label in labels if label != one.target]))
            placed += [(at, wrong), (at + chance.uniform(0.5, _WITHIN), one)]
        else:
            placed.append((at, one))
    return [one for _, one in sorted(placed, key=lambda item: item[0])]
