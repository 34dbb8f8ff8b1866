from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from tests.learning_closed_form.synthetic_codes import make_examples

from everlearn.learning.closed_form.naive_bayes import NaiveBayesScorer
from everlearn.learning.closed_form.statistics.count_sums import CountSums, gram_matrix
from everlearn.learning.closed_form.statistics.members import Members
from everlearn.types import Code, Example

BITS = 10


def arrays(examples: list[Example]) -> tuple[list[Code], npt.NDArray[np.int64]]:
    codes = [e.code for e in examples if e.code is not None]
    return codes, np.array([int((e.target or "c0")[1:]) for e in examples])


def sums_of(examples: list[Example], gather: int = 64) -> CountSums:
    codes, classes = arrays(examples)
    sums = CountSums(BITS, gather)
    for start in range(0, len(codes), 10):
        sums.add(codes[start : start + 10], Members(classes[start : start + 10]), 5)
    return sums


def test_scores_are_those_of_scikit_learns_complement_naive_bayes() -> None:
    sklearn = pytest.importorskip("sklearn.naive_bayes", reason="scikit-learn is the reference here")
    examples = make_examples(200)
    codes, classes = arrays(examples)
    counts = gram_matrix(codes, BITS)
    reference = sklearn.ComplementNB(alpha=0.05 * 255, norm=True).fit(counts.toarray(), classes)
    expected = reference._joint_log_likelihood(counts[:30].toarray()) * 2**BITS
    expected -= expected.mean(axis=1, keepdims=True)
    scores = NaiveBayesScorer(sums_of(examples).sums(), 0.05).scores(counts[:30])
    np.testing.assert_allclose(scores, expected, atol=1e-6, rtol=1e-9)


def test_leave_one_out_is_what_scoring_without_the_example_says() -> None:
    examples = make_examples(60)
    codes, classes = arrays(examples)
    sums = sums_of(examples)
    left_out = NaiveBayesScorer(sums.sums(), 0.05).scores_without_self(
        gram_matrix(codes[:8], BITS), classes[:8], sums.sums()
    )
    for k in range(8):
        sums.subtract(codes[k : k + 1], Members(classes[k : k + 1]))
        refitted = NaiveBayesScorer(sums.sums(), 0.05).scores(gram_matrix(codes[k : k + 1], BITS))[0]
        sums.add(codes[k : k + 1], Members(classes[k : k + 1]), 5)
        # The norms of the classes are not taken out, which moves scores by parts in 2**BITS.
        np.testing.assert_allclose(left_out[k], refitted, rtol=2e-2, atol=2e-2 * np.abs(refitted).max())
        assert left_out[k].argmax() == refitted.argmax()


def test_large_and_small_blocks_of_leave_one_out_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    examples = make_examples(40)
    codes, classes = arrays(examples)
    sums = sums_of(examples).sums()
    scorer = NaiveBayesScorer(sums, 0.05)
    at_once = scorer.scores_without_self(gram_matrix(codes, BITS), classes, sums)
    monkeypatch.setattr("everlearn.learning.closed_form.naive_bayes._DENSE_ENTRIES", 60)
    in_blocks = scorer.scores_without_self(gram_matrix(codes, BITS), classes, sums)
    np.testing.assert_array_equal(in_blocks, at_once)


def test_subtraction_leaves_no_trace() -> None:
    examples = make_examples(80)
    kept, gone = sums_of(examples[:50], gather=3), sums_of(examples, gather=1000)
    codes, classes = arrays(examples[50:])
    gone.subtract(codes, Members(classes))
    for name in ("indptr", "indices", "data"):
        np.testing.assert_array_equal(getattr(kept.sums(), name), getattr(gone.sums(), name))


def test_texts_without_grams_score_nothing() -> None:
    empty = Code(np.zeros(4, np.int8), np.zeros(0, np.uint32), np.zeros(0, np.uint8))
    scorer = NaiveBayesScorer(sums_of(make_examples(30)).sums(), 0.05)
    np.testing.assert_array_equal(scorer.scores(gram_matrix([empty], BITS)), np.zeros((1, 5)))
