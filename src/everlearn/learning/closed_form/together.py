"""Several predictors asked at once: what they look at alike is made once."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from everlearn.learning.closed_form.label_sets.predictor import SetPredictor
from everlearn.learning.closed_form.predictor import ClosedFormPredictor
from everlearn.types import Example, Prediction, Predictor

__all__ = ["predict_each"]


def predict_each(asked: Sequence[tuple[Predictor, Sequence[Example]]]) -> list[list[Prediction]]:
    """What each predictor says of its examples: to the bit what it says by itself.

    Features and counts are integers, so it does not matter in what company they are made. To make them costs
    about as much for one example as for a dozen.
    """
    said: list[list[Prediction]] = [[] for _ in asked]
    groups: dict[Hashable, list[int]] = {}
    for place, (predictor, examples) in enumerate(asked):
        if isinstance(predictor, ClosedFormPredictor | SetPredictor) and examples:
            groups.setdefault(predictor.reading.key, []).append(place)
        else:
            said[place] = predictor.predict(examples)
    for places in groups.values():
        first, _ = asked[places[0]]
        assert isinstance(first, ClosedFormPredictor | SetPredictor)
        read, start = first.reading([example for place in places for example in asked[place][1]]), 0
        for place in places:
            predictor, examples = asked[place]
            assert isinstance(predictor, ClosedFormPredictor | SetPredictor)
            stop = start + len(examples)
            said[place] = predictor.predict_read(read.part(start, stop))
            start = stop
    return said
