"""Naive Bayes that grows text by text says what a scorer of all texts says."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.learning_closed_form.synthetic_codes import make_examples

from everlearn.learning.closed_form.live.fresh_bayes import FreshBayes
from everlearn.learning.closed_form.naive_bayes import NaiveBayesScorer
from everlearn.learning.closed_form.statistics.count_sums import CountSums, gram_matrix
from everlearn.learning.closed_form.statistics.members import Members
from everlearn.types import Code, Example

BITS, SMOOTHING = 12, 0.01


def codes_of(examples: list[Example]) -> list[Code]:
    return [example.code for example in examples if example.code is not None]


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    num_first=st.integers(0, 60),
    steps=st.lists(st.tuples(st.integers(1, 12), st.booleans()), max_size=8),
)
def test_it_says_what_a_scorer_of_everything_says(
    seed: int, num_first: int, steps: list[tuple[int, bool]]
) -> None:
    generator = np.random.default_rng(seed)
    examples = make_examples(200, seed=seed % 7)
    codes = codes_of(examples)
    sums = CountSums(BITS, 50)
    num_classes = 2
    learned = [(k, int(generator.integers(0, num_classes))) for k in range(num_first)]

    def count(pairs: list[tuple[int, int]]) -> tuple[list[Code], np.ndarray]:
        return [codes[k] for k, _ in pairs], np.array([class_ for _, class_ in pairs], dtype=np.int64)

    some, classes = count(learned)
    sums.add(some, Members(classes), num_classes)
    fresh = FreshBayes(sums.sums(), SMOOTHING)
    at = num_first
    for num, is_removal in steps:
        if is_removal and len(learned) > num:
            gone, learned = learned[:num], learned[num:]
            some, classes = count(gone)
            fresh.add(gram_matrix(some, BITS), classes, num_classes, -1)
            sums.subtract(some, Members(classes))
        else:
            num_classes += int(generator.integers(0, 2))
            new = [(k, int(generator.integers(0, num_classes))) for k in range(at, at + num)]
            at += num
            some, classes = count(new)
            copy = fresh.frozen()
            before = copy.scores(gram_matrix(codes[-20:], BITS))
            fresh.add(gram_matrix(some, BITS), classes, num_classes)
            np.testing.assert_array_equal(copy.scores(gram_matrix(codes[-20:], BITS)), before)
            sums.add(some, Members(classes), num_classes)
            learned += new
    queries = gram_matrix(codes[-20:], BITS)
    expected = NaiveBayesScorer(sums.sums(), SMOOTHING).scores(queries)
    found = np.zeros_like(expected)
    scores = fresh.scores(queries)
    found[:, : scores.shape[1]] = scores
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9 * max(1.0, np.abs(expected).max()))
