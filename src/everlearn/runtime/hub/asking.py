"""Predicting for several tenants at once: texts of all of them are encoded in one pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from everlearn.errors import InputError
from everlearn.models.encoder.coder import TextCoder
from everlearn.runtime.fold.served_learner import Served
from everlearn.types import Example, Prediction

__all__ = ["checked_pairs", "places_by_tenant", "predict_together"]

Asked = Sequence[tuple[str, Example | str]]


def checked_pairs(asked: Asked) -> list[tuple[str, Example | str]]:
    """Pairs of a tenant and a text or example. Raises InputError where one is none."""
    for one in asked:
        if not isinstance(one, tuple | list) or len(one) != 2:
            raise InputError(f"give pairs of a tenant and a text or example, not {one!r}")
    return [(tenant, example) for tenant, example in asked]


def places_by_tenant(asked: Sequence[tuple[str, object]]) -> dict[str, list[int]]:
    """Which of them each tenant is asked."""
    places: dict[str, list[int]] = {}
    for place, (tenant, _) in enumerate(asked):
        places.setdefault(tenant, []).append(place)
    return places


def predict_together(
    tenants: Sequence[str],
    examples: Sequence[Example],
    heads: Mapping[str, Served | None],
    coder: Callable[[], TextCoder],
) -> list[Prediction]:
    """One prediction an example.

    Args:
        tenants: Whom each example is for.
        examples: The examples.
        heads: What each tenant predicts by; None: it has learned nothing, and says nothing (label None).
        coder: Gives what makes the codes of those that read by the trunk that all share.
    """
    ready = _with_codes(tenants, examples, heads, coder)
    found: list[Prediction | None] = [None] * len(ready)
    for tenant, own in places_by_tenant(list(zip(tenants, ready, strict=True))).items():
        head = heads[tenant]
        said = (
            [Prediction(None, (), np.zeros(0)) for _ in own]
            if head is None
            else head.predict([ready[k] for k in own])
        )
        for place, prediction in zip(own, said, strict=True):
            found[place] = prediction
    return [prediction for prediction in found if prediction is not None]


def _with_codes(
    tenants: Sequence[str],
    examples: Sequence[Example],
    heads: Mapping[str, Served | None],
    coder: Callable[[], TextCoder],
) -> list[Example]:
    """Texts of tenants that read by the trunk that all share, encoded in one pass."""
    ready = list(examples)
    coders = [None if (head := heads[tenant]) is None else head.coder for tenant in tenants]
    wanting = [
        place
        for place, example in enumerate(examples)
        if coders[place] is not None and example.code is None and example.text is not None
    ]
    if not wanting:
        return ready
    shared = coder()
    own = [place for place in wanting if coders[place] == shared.fingerprint]
    codes = shared.encode_examples([examples[place] for place in own])
    for place, code in zip(own, codes, strict=True):
        ready[place] = replace(examples[place], code=code)
    return ready
