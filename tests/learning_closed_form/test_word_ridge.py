"""Word ridge is the solution of its normal equations, and what is judged was not seen."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from everlearn.learning.closed_form.live.fresh_words import FreshWords
from everlearn.learning.closed_form.word_ridge import STRENGTH, WordRidge, WordTexts, fit_many

COLUMNS = 1 << 12


def texts(num: int, seed: int, num_classes: int = 3) -> WordTexts:
    """Texts of a few grams each, some common and some of a class; every tenth has none."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(num_classes, size=num)
    rows, columns = [], []
    for row, class_ in enumerate(classes):
        if row % 10 == 9:
            continue
        own = {
            *rng.integers(0, 40, size=4).tolist(),
            *(2000 + 50 * class_ + rng.integers(0, 20, size=2)).tolist(),
        }
        rows += [row] * len(own)
        columns += sorted(own)
    counts = sp.csr_matrix(
        (rng.integers(40, 160, size=len(rows)), (rows, columns)), shape=(num, COLUMNS), dtype=np.int64
    )
    return WordTexts(counts, classes.astype(np.int64), num_classes)


def dense(counts: sp.csr_matrix) -> np.ndarray:
    return np.asarray(counts.todense(), dtype=np.float64) / 255


def exact_scores(counts: sp.csr_matrix, classes: np.ndarray, num: int, queries: sp.csr_matrix) -> np.ndarray:
    """By the normal equations, in double precision; where no text has a column they say that it weighs 0."""
    own = np.unique(counts.indices)
    inputs, targets = dense(counts[:, own]), np.eye(num)[classes]
    weights = np.linalg.solve(inputs.T @ inputs + STRENGTH * np.eye(len(own)), inputs.T @ targets)
    return np.asarray(dense(queries[:, own]) @ weights)


@pytest.mark.parametrize("num", [60, 300])
def test_many_are_solved_as_the_normal_equations_say(num: int) -> None:
    given_, queries = texts(num, 1), texts(40, 2).counts_SH
    ridge, judged = fit_many(given_, 30)
    expected = exact_scores(given_.counts_SH, given_.classes_S, 3, queries)
    np.testing.assert_allclose(ridge.scores(queries), expected, atol=2e-3)
    # An eighth is left out at once, at most: all that is judged together where there are 300.
    size = min(30, num // 8)
    parts = np.array_split(np.arange(30), int(np.ceil(30 * 8 / num)))
    assert max(len(part) for part in parts) <= size + 1
    for part in parts:
        rest = np.setdiff1d(np.arange(num), part)
        expected = exact_scores(given_.counts_SH[rest], given_.classes_S[rest], 3, given_.counts_SH[part])
        np.testing.assert_allclose(judged[part], expected, atol=2e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_few_are_solved_and_left_out_exactly(dtype: torch.dtype) -> None:
    given_, queries = texts(50, 3), texts(40, 4).counts_SH
    fresh = FreshWords.of_few(given_.counts_SH, given_.classes_S, 3, dtype)
    atol = 1e-5 if dtype == torch.float32 else 1e-7  # counts become float32 in both
    expected = exact_scores(given_.counts_SH, given_.classes_S, 3, queries)
    np.testing.assert_allclose(fresh.scores(fresh.see(queries)), expected, atol=atol)
    np.testing.assert_allclose(fresh.settled(given_.counts_SH).scores(queries), expected, atol=1e-5)
    left_out = fresh.without_self(given_.classes_S[:20])
    for k in range(20):
        rest = np.arange(50) != k
        one = exact_scores(given_.counts_SH[rest], given_.classes_S[rest], 3, given_.counts_SH[k : k + 1])
        np.testing.assert_allclose(left_out[k], one[0], atol=10 * atol)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), steps=st.lists(st.integers(1, 9), max_size=6), first=st.integers(0, 30))
def test_text_by_text_it_is_what_all_at_once_are(seed: int, steps: list[int], first: int) -> None:
    given_, queries = texts(first + sum(steps), seed, num_classes=4), texts(20, seed + 1).counts_SH
    counts, classes = given_.counts_SH, given_.classes_S
    known = int(classes[:first].max(initial=-1)) + 1  # new classes come later
    fresh = FreshWords.of_few(counts[:first], classes[:first], known)
    at = first
    for num in steps:
        known = max(known, int(classes[at : at + num].max()) + 1)
        copy = fresh.frozen()
        before = copy.scores(copy.see(queries))
        fresh.add(fresh.see(counts[at : at + num]), classes[at : at + num], known)
        np.testing.assert_array_equal(copy.scores(copy.see(queries)), before)
        at += num
    found = fresh.scores(fresh.see(queries))
    expected = exact_scores(counts, classes, 4, queries)[:, : found.shape[1]]
    np.testing.assert_allclose(found, expected if at else np.zeros_like(found), atol=1e-5)


def test_rows_behind_a_base_move_it_as_far_as_it_is_open() -> None:
    """A ridge regression of what the base leaves, with each gram's prior variance as open as it is."""
    given_, new, queries = texts(200, 5), texts(12, 6, num_classes=4), texts(30, 7, num_classes=4).counts_SH
    base, _ = fit_many(given_, 0)
    fresh = FreshWords(base)
    for part in (slice(0, 5), slice(5, 12)):
        fresh.add(fresh.see(new.counts_SH[part]), new.classes_S[part], 4)
    known = (dense(given_.counts_SH) ** 2).sum(axis=0)
    openness = STRENGTH / (STRENGTH + known)
    inputs, others = dense(new.counts_SH), dense(queries)
    wide = np.pad(base.scores(new.counts_SH), ((0, 0), (0, 1)))
    kernel = (inputs * openness) @ inputs.T / STRENGTH
    duals = np.linalg.solve(kernel + np.eye(12), np.eye(4)[new.classes_S] - wide)
    expected = (
        np.pad(base.scores(queries), ((0, 0), (0, 1))) + (others * openness) @ inputs.T @ duals / STRENGTH
    )
    np.testing.assert_allclose(fresh.scores(fresh.see(queries)), expected, atol=1e-5)
    # What the base has seen often is not overturned by one text, what it never saw is learned at once.
    common, unseen = (sp.csr_matrix(([200], ([0], [column])), shape=(1, COLUMNS)) for column in (3, 3999))
    for counts, is_moved in ((common, False), (unseen, True)):
        one = FreshWords(base)
        one.add(one.see(counts), np.array([3]), 4)
        assert bool(one.scores(one.see(counts))[0, 3] > 0.5) == is_moved


def test_texts_are_as_many_as_their_grams_and_classes_allow() -> None:
    given_ = texts(100, 8)
    grams = given_.counts_SH.indptr
    assert len(given_.first(10**9, 1).classes_S) == 100
    assert len(given_.first(0, 7).classes_S) == 7
    assert len(given_.first(3 * int(grams[40]), 7).classes_S) == 40


def test_nothing_is_said_where_nothing_is_known() -> None:
    empty = sp.csr_matrix((4, COLUMNS), dtype=np.int64)
    for ridge in (
        fit_many(WordTexts(empty, np.array([0, 1, 0, 1]), 2), 2)[0],
        WordRidge.of_duals(empty, np.ones((4, 2))),
        FreshWords.of_few(empty, np.array([0, 1, 0, 1]), 2).settled(empty),
    ):
        assert (ridge.scores(texts(5, 1).counts_SH) == 0).all()
    again = WordRidge.from_tensors(fit_many(texts(50, 9), 0)[0].to_tensors())
    assert (again.scores(texts(5, 1).counts_SH) != 0).any()
    assert again.num_classes == 3
