from __future__ import annotations

import math
import zlib
from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from everlearn.models.encoder.lexical import _LOG_SCALE, MAX_TOKENS, gram_features, tokens

TEXTS = st.text(max_size=80) | st.lists(
    st.sampled_from(["the", "card", "Card", "卡", "にほん", "!", "don't", "_", "naïve", "\ud800"]),
    max_size=60,
).map(" ".join)


def reference(text: str) -> dict[int, float]:
    """Unrounded values, gram by gram, written out without the shortcuts of the product."""
    words = tokens(text)
    unigrams = [word.encode("utf-8", "replace") for word in words]
    bigrams = [b" ".join(pair) for pair in zip([b"", *unigrams], unigrams, strict=False)]
    grams = unigrams + bigrams
    counts = Counter(zlib.crc32(gram) for gram in grams)
    norm = math.sqrt(sum(math.log1p(n) ** 2 for n in counts.values()))
    return {key: 255 * math.log1p(n) / norm for key, n in counts.items()}


@given(TEXTS)
def test_values_are_unit_length_log_counts(text: str) -> None:
    ids, values = gram_features(text)
    expected = reference(text)
    assert ids.dtype == np.uint32
    assert values.dtype == np.uint8
    assert ids.tolist() == sorted(expected)
    for key, value in zip(ids.tolist(), values.tolist(), strict=True):
        assert abs(value - expected[key]) < 0.5 + 0.05  # half a step, and the table's own rounding


@given(TEXTS)
def test_ids_increase_and_case_does_not_matter(text: str) -> None:
    ids, values = gram_features(text)
    assert (np.diff(ids.astype(np.int64)) > 0).all()
    assert (values > 0).all()
    lowered_ids, lowered_values = gram_features(text.lower())
    np.testing.assert_array_equal(ids, lowered_ids)
    np.testing.assert_array_equal(values, lowered_values)


def test_words_marks_and_cjk_characters_are_tokens() -> None:
    assert tokens("I'd like 3 cards, 我要三張カード。") == [
        *("i", "'", "d", "like", "3", "cards", ","),
        *"我要三張カード。",
    ]
    assert tokens("snake_case") == ["snake", "case"]


def test_no_tokens_no_grams() -> None:
    for text in ("", "   ", "\n\t", "___"):
        ids, values = gram_features(text)
        assert len(ids) == len(values) == 0


def test_the_first_word_is_marked() -> None:
    first, _ = gram_features("pay rent")
    second, _ = gram_features("rent pay")
    assert set(first.tolist()) & set(second.tolist()) == {zlib.crc32(b"pay"), zlib.crc32(b"rent")}
    assert zlib.crc32(b" pay") in first.tolist()
    assert zlib.crc32(b"pay rent") in first.tolist()


def test_words_alone() -> None:
    ids, values = gram_features("pay the rent", ngram_max=1)
    assert ids.tolist() == sorted(zlib.crc32(word) for word in (b"pay", b"the", b"rent"))
    assert values.tolist() == [round(255 / math.sqrt(3))] * 3


def test_known_values() -> None:
    ids, values = gram_features("yes yes")  # yes twice; the pairs "<begin> yes" and "yes yes" once
    norm = math.sqrt(math.log(3) ** 2 + 2 * math.log(2) ** 2)
    expected = dict.fromkeys((zlib.crc32(b" yes"), zlib.crc32(b"yes yes")), round(255 * math.log(2) / norm))
    expected[zlib.crc32(b"yes")] = round(255 * math.log(3) / norm)
    assert dict(zip(ids.tolist(), values.tolist(), strict=True)) == expected


def test_a_long_text_is_cut_at_the_documented_number_of_tokens() -> None:
    head = " ".join(f"w{n}" for n in range(MAX_TOKENS))
    assert len(tokens(head + " tail tail")) == MAX_TOKENS
    cut, whole = gram_features(head + " tail tail"), gram_features(head)
    np.testing.assert_array_equal(cut[0], whole[0])
    np.testing.assert_array_equal(cut[1], whole[1])


def test_a_very_long_text_keeps_only_positive_values() -> None:
    text = "the " * 10_000 + " ".join(f"w{n}" for n in range(9_000))
    ids, values = gram_features(text)
    assert len(ids) == len(values) > 9_000
    assert (values > 0).all()


def test_log_table_never_stands_near_a_tie() -> None:
    # An error of the platform's log in the last bits cannot change a table entry.
    for count in range(1, MAX_TOKENS + 1):
        exact = _LOG_SCALE * math.log(1 + count)
        assert abs(exact - math.floor(exact) - 0.5) > 1e-8
