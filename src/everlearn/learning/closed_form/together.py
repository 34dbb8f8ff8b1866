"""Several predictors asked at once: what they look at alike is made once."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from everlearn.learning.closed_form.reading_predictor import ReadingPredictor
from everlearn.types import Example, Prediction, Predictor

__all__ = ["predict_each"]


def predict_each(asked: Sequence[tuple[Predictor, Sequence[Example]]]) -> list[list[Prediction]]:
    """What each predictor says of its examples: to the bit what it says by itself.

    Features and counts are integers, so it does not matter in what company they are made. To make them costs
    about as much for one example as for a dozen.
    """
    said: list[list[Prediction]] = [[] for _ in asked]
    groups: dict[Hashable, list[tuple[int, ReadingPredictor[Any], Sequence[Example]]]] = {}
    for place, (predictor, examples) in enumerate(asked):
        if isinstance(predictor, ReadingPredictor) and examples:
            groups.setdefault(predictor.reading.key, []).append((place, predictor, examples))
        else:
            said[place] = predictor.predict(examples)
    for group in groups.values():
        _, first, _ = group[0]
        read, start = first.reading([example for *_, examples in group for example in examples]), 0
        for place, predictor, examples in group:
            stop = start + len(examples)
            said[place] = predictor.predict_read(read.part(start, stop))
            start = stop
    return said
