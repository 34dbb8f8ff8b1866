"""Predicting for several tenants at once: texts of all of them are encoded in one pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from everlearn.errors import InputError
from everlearn.learning.closed_form.together import predict_each
from everlearn.models.encoder.adapted_coder import encode_together
from everlearn.models.encoder.coder import TextCoder
from everlearn.runtime.fold.served_learner import Served
from everlearn.tasks.answer import PredictedText
from everlearn.types import Example, Prediction, Predictor

__all__ = ["answer_together", "checked_pairs", "places_by_tenant", "predict_together"]

Asked = Sequence[tuple[str, Example | str]]


def checked_pairs(asked: Asked) -> list[tuple[str, Example | str]]:
    """Pairs of a tenant and a text or example. Raises InputError where one is none."""
    for one in asked:
        if not isinstance(one, tuple | list) or len(one) != 2:
            raise InputError(f"give pairs of a tenant and a text or example, not {one!r}")
    return [(tenant, example) for tenant, example in asked]


def places_by_tenant(asked: Sequence[tuple[str, *tuple[object, ...]]]) -> dict[str, list[int]]:
    """Which of them each tenant is asked."""
    places: dict[str, list[int]] = {}
    for place, (tenant, *_) in enumerate(asked):
        places.setdefault(tenant, []).append(place)
    return places


def predict_together(
    tenants: Sequence[str],
    examples: Sequence[Example],
    heads: Mapping[str, Served | None],
) -> list[Prediction]:
    """One prediction an example.

    Args:
        tenants: Whom each example is for.
        examples: The examples.
        heads: What each tenant predicts by; None: it has learned nothing, and says nothing (label None).
    """
    ready = _with_codes(tenants, examples, heads)
    found = [Prediction(None, (), np.zeros(0)) for _ in ready]
    free, places = list[tuple[Predictor, list[Example]]](), list[list[int]]()
    for tenant, own in places_by_tenant(list(zip(tenants, ready, strict=True))).items():
        head = heads[tenant]
        if head is None:
            continue
        asked = [ready[k] for k in own]
        if head.turns is None:
            free.append((head.predictor, asked))
            places.append(own)
        else:
            _put(found, own, head.predict(asked))
    for own, said in zip(places, predict_each(free), strict=True):
        _put(found, own, said)
    return found


def _put(found: list[Prediction], places: Sequence[int], said: Sequence[Prediction]) -> None:
    for place, prediction in zip(places, said, strict=True):
        found[place] = prediction


def answer_together(
    tenants: Sequence[str],
    examples: Sequence[Example],
    heads: Mapping[str, Served],
    tops: Sequence[int],
) -> list[PredictedText]:
    """As ``predict_together``, what a user is told: so many labels of each, all tenants having learned."""
    predictions = predict_together(tenants, examples, heads)
    return [
        heads[tenant].task.answer(example, prediction, top)
        for tenant, example, prediction, top in zip(tenants, examples, predictions, tops, strict=True)
    ]


def _with_codes(
    tenants: Sequence[str], examples: Sequence[Example], heads: Mapping[str, Served | None]
) -> list[Example]:
    """Texts encoded, those of one trunk in one pass, each with its tenant's adapter."""
    ready = list(examples)
    places, texts, coders = list[int](), list[str](), list[TextCoder]()
    for place, (tenant, example) in enumerate(zip(tenants, examples, strict=True)):
        head = heads[tenant]
        if head is None or head.coder is None or example.code is not None or example.text is None:
            continue
        places.append(place)
        texts.append(example.text)
        coders.append(head.coder.text_coder())
    for place, code in zip(places, encode_together(texts, coders), strict=True):
        ready[place] = replace(examples[place], code=code)
    return ready
