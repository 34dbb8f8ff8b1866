"""Sketches of n-grams: products, scripts, and the same numbers whatever is beside a text."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everlearn.models.encoder.gram_sketch import MAX_CHARACTERS, gram_sketches
from everlearn.models.encoder.lexical import gram_features, log_counts


def _sketches(*texts: str, size: int = 1024) -> np.ndarray:
    return gram_sketches(texts, [gram_features(text) for text in texts], size)


def _cosine(first: np.ndarray, second: np.ndarray) -> float:
    first, second = first.astype(float), second.astype(float)
    return float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))


def _exact_cosine(first: str, second: str) -> float:
    """Of unit vectors of words' and of characters' n-grams, one behind the other."""

    def vectors(text: str) -> tuple[dict[object, float], dict[object, float]]:
        ids, values = gram_features(text)
        spaced = f" {' '.join(text.lower().split())} "
        counts = Counter(spaced[k : k + n] for n in (2, 3, 4) for k in range(len(spaced) - n + 1))
        words = dict(zip(ids.tolist(), values.astype(float).tolist(), strict=True))
        return words, {gram: math.log(1 + count) for gram, count in counts.items()}

    def product(a: dict[object, float], b: dict[object, float]) -> float:
        dot = sum(value * b.get(gram, 0.0) for gram, value in a.items())
        norms = [math.sqrt(sum(value**2 for value in each.values())) for each in (a, b)]
        return dot / math.prod(norms)

    return sum(product(a, b) for a, b in zip(vectors(first), vectors(second), strict=True)) / 2


SENTENCES = (
    "My card was declined at the supermarket this morning, although there is money in the account.",
    "The supermarket declined my cards this morning although I have got money in my account!",
    "Wie kann ich meine neue Bankkarte aktivieren, nachdem die alte abgelaufen ist?",
    "我的银行卡今天早上在超市被拒绝了，但是账户里还有钱，请问应该怎么办才好呢？",
    "我的信用卡今天早上在商店被拒绝了，可是账户里还有很多钱，请问我应该怎么办？",
)


def test_products_are_those_of_the_counts() -> None:
    size = 1 << 12
    sketches = _sketches(*SENTENCES, size=size)
    for row, text in zip(sketches, SENTENCES, strict=True):
        for other_row, other in zip(sketches, SENTENCES, strict=True):
            assert _cosine(row, other_row) == pytest.approx(_exact_cosine(text, other), abs=0.08)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(max_size=60), min_size=1, max_size=6), st.sampled_from([1, 3, 64, 1024]))
def test_a_text_has_one_sketch_whatever_is_beside_it(texts: list[str], size: int) -> None:
    together = _sketches(*texts, size=size)
    assert together.dtype == np.int8
    assert together.shape == (len(texts), size)
    for row, text in zip(together, texts, strict=True):
        np.testing.assert_array_equal(row, _sketches(text, size=size)[0])


def test_more_texts_than_are_sketched_at_once() -> None:
    texts = [f"message number {k} of many" for k in range(600)]
    np.testing.assert_array_equal(_sketches(*texts)[555], _sketches(texts[555])[0])


def test_recorded_numbers() -> None:
    """What was sketched once must come out the same for ever: it is added to what is in journals."""
    assert _sketches("To be, or not to be: 你好", size=16).tolist() == [
        [9, 24, -27, 7, 42, -8, 3, -6, 42, 20, 6, -21, -6, -24, 27, 9]
    ]


def test_case_and_spaces_do_not_count() -> None:
    np.testing.assert_array_equal(_sketches("Hello  World\n")[0], _sketches("hello world")[0])


def test_typing_errors_and_inflection_stay_near() -> None:
    right, wrong, other = _sketches(
        "activating my new card", "activatng my new crad", "the weather is fine today"
    )
    assert _cosine(right, wrong) > 0.4
    assert abs(_cosine(right, other)) < 0.2


def test_nothing_to_sketch() -> None:
    assert not _sketches("", " \n", size=64).any()
    assert gram_sketches([], [], 64).shape == (0, 64)


def test_only_the_beginning_of_a_huge_text_is_sketched() -> None:
    beginning = "ab " * (MAX_CHARACTERS // 3 + 1)
    words = [gram_features("one")] * 2
    first, second = gram_sketches([beginning[:MAX_CHARACTERS], beginning + "xyz" * 1000], words, 256)
    np.testing.assert_array_equal(first, second)


def test_lone_surrogates() -> None:
    assert _sketches("half \ud83d of a pair")[0].any()


def test_log_counts() -> None:
    assert log_counts(np.array([1, 3, 1])).tolist() == [2839.0, 5678.0, 2839.0]
    assert log_counts(np.zeros(0, np.int64)).tolist() == []
