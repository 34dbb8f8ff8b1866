"""Simple learners: taking out is the opposite of learning, and memory is bounded."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.evaluation.baselines import ClassMean, MostFrequent, SimpleLearner, Words
from everlearn.evaluation.comparison import Comparison, Course
from everlearn.models.encoder.lexical import gram_features
from everlearn.types import Code, Example

TEXTS = ("where is my invoice", "the invoice is wrong", "I cannot log in", "log in fails again", "hello")


def example(number: int, text: str, target: str | None) -> Example:
    dense = np.random.default_rng(number).integers(-100, 100, 12).astype(np.int8)
    return Example(id=str(number), text=text, target=target, code=Code(dense, *gram_features(text)))


PAIRS = st.lists(st.tuples(st.sampled_from(TEXTS), st.sampled_from("abc")), min_size=1, max_size=12)


@pytest.mark.parametrize("make", [MostFrequent, lambda: ClassMean(8), Words])
@given(kept=PAIRS, others=PAIRS)
def test_what_is_taken_out_was_never_learned(
    make: type[SimpleLearner], kept: list[tuple[str, str]], others: list[tuple[str, str]]
) -> None:
    remaining = [example(k, *pair) for k, pair in enumerate(kept)]
    gone = [example(100 + k, text, f"{label}!") for k, (text, label) in enumerate(others)]
    queries = [example(200 + k, text, None) for k, text in enumerate(TEXTS)]
    without, learner = make(), make()
    without.learn(remaining)
    learner.learn([*remaining, *gone])
    learner.update(gone, [])
    assert learner.predict(queries) == without.predict(queries)
    learner.update(remaining, [])
    assert learner.predict(queries) == [None] * len(queries)


def test_texts_without_a_code_have_their_words_read() -> None:
    by_code, by_text = Words(), Words()
    learned = [example(k, text, f"{k // 2}") for k, text in enumerate(TEXTS)]
    by_code.learn(learned)
    by_text.learn([Example(id=one.id, text=one.text, target=one.target) for one in learned])
    for text in ("my invoice", "log in", "say hello"):
        assert by_text.predict([Example(id="q", text=text)]) == by_code.predict([example(9, text, None)])
    assert not by_text.can_read(Example(id="q"))
    assert not ClassMean(8).can_read(Example(id="q", text="no code"))


def test_too_many_labels_are_for_the_most_frequent_one_alone() -> None:
    many = [example(k, "hello", f"label{k}") for k in range(1_001)]
    words, frequent = Words(), MostFrequent()
    words.learn(many[:1_000])
    assert not words.is_full
    words.learn(many[1_000:])
    frequent.learn(many)
    assert words.is_full
    assert not frequent.is_full


def test_a_course_is_read_at_any_place_of_the_stream() -> None:
    course = Course("words", [1, 3])
    comparison = Comparison(places=[10, 20], scored=[4, 6], courses=[course], num_unlearned=0, is_whole=False)
    assert comparison.accuracies_at(course, [5, 10, 15, 20, 21]) == [None, 0.25, 0.25, 0.5, None]
