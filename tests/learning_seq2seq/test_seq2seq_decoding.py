"""Generated targets against a search that keeps no cache and runs one source at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.learning_seq2seq.conftest import MakeModel

from everlearn.learning.seq2seq import decoding
from everlearn.learning.seq2seq.decoding import Decoding, Generated, generate

GREEDY = Decoding(start_id=0, end_id=1, pad_id=0, max_target_length=9)


def sources(count: int) -> list[Any]:
    generator = np.random.default_rng(3)
    return [
        np.append(generator.integers(3, 30, size=generator.integers(0, 8)), 1).astype(np.int32)
        for _ in range(count)
    ]


def biased(model: Any) -> Any:
    """Rows that end at different times: the end token is likely, but not always the likeliest."""
    if hasattr(model, "final_logits_bias"):
        model.final_logits_bias[0, 1] = 1.5
    return model


def naive_greedy(model: Any, source: Any, limit: int, first_id: int | None = None) -> Generated:
    ids: list[int] = []
    total = 0.0
    while len(ids) < limit and ids[-1:] != [1]:
        with torch.no_grad():
            logits_V = model(
                input_ids=torch.tensor([source.tolist()]),
                decoder_input_ids=torch.tensor([[0, *ids]]),
                use_cache=False,
            ).logits[0, -1]
        log_p_V = logits_V.log_softmax(0)
        log_p_V[0] = -torch.inf
        if first_id is not None and not ids:
            ids.append(first_id)
            continue
        ids.append(int(log_p_V.argmax()))
        total += float(log_p_V[ids[-1]])
    return Generated(tuple(ids), total)


@pytest.mark.parametrize("kind", ["marian", "t5"])
@pytest.mark.parametrize("first_id", [None, 7])
def test_greedy_search_equals_the_naive_one(make_model: MakeModel, kind: str, first_id: int | None) -> None:
    model = biased(make_model(kind, seed=2).model)
    settings = Decoding(start_id=0, end_id=1, pad_id=0, max_target_length=9, first_id=first_id)
    texts = sources(24 if kind == "marian" else 6)
    found = generate(model, texts, settings)
    expected = [naive_greedy(model, source, 9, first_id) for source in texts]
    assert [one.ids for one in found] == [one.ids for one in expected]
    if kind == "marian":
        assert len({len(one.ids) for one in found}) > 1, "the test must see rows of different lengths"
    for one, other in zip(found, expected, strict=True):
        assert one.log_probability == pytest.approx(other.log_probability, rel=1e-4, abs=1e-5)


def test_groups_and_their_order_do_not_matter(make_model: MakeModel) -> None:
    model = biased(make_model(seed=2).model)
    texts = sources(16)
    small = Decoding(start_id=0, end_id=1, pad_id=0, max_target_length=9, tokens_at_once=12)
    assert [one.ids for one in generate(model, texts, small)] == [
        one.ids for one in generate(model, texts, GREEDY)
    ]
    assert generate(model, [], GREEDY) == []


def test_a_target_is_bounded_by_the_length_of_its_source(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "_LENGTH_MARGIN", 1)
    model = make_model(seed=2).model
    model.final_logits_bias[0, 1] = -100.0  # never ends by itself
    short, long = np.array([5, 1], np.int32), np.array([5, 6, 7, 8, 1], np.int32)
    assert [len(one.ids) for one in generate(model, [short, long], GREEDY)] == [5, 9]


@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
def test_beams_report_the_probability_of_what_they_found(
    make_model: MakeModel, length_penalty: float
) -> None:
    model = biased(make_model(seed=2).model)
    settings = Decoding(
        start_id=0, end_id=1, pad_id=0, max_target_length=9, num_beams=4, length_penalty=length_penalty
    )
    texts = sources(8)
    greedy_total = beam_total = 0.0
    for source, one, other in zip(
        texts, generate(model, texts, settings), generate(model, texts, GREEDY), strict=True
    ):
        with torch.no_grad():
            logits_TV = model(
                input_ids=torch.tensor([source.tolist()]),
                decoder_input_ids=torch.tensor([[0, *one.ids[:-1]]]),
            ).logits[0]
        log_p_TV = logits_TV.log_softmax(dim=1)
        expected = sum(float(log_p_TV[row, token]) for row, token in enumerate(one.ids))
        assert one.log_probability == pytest.approx(expected, rel=1e-3)
        greedy_total += other.log_probability / len(other.ids) ** length_penalty
        beam_total += one.log_probability / len(one.ids) ** length_penalty
    assert beam_total > greedy_total
