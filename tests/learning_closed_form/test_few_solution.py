"""Settled from the examples, or from the sums: the same settings, and the same predictions to rounding."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.learning_closed_form.synthetic_codes import DENSE_SIZE, make_examples

from everlearn.learning import ClosedFormConfig, ClosedFormLearner
from everlearn.learning.closed_form import few_solution, ridge, solution
from everlearn.learning.closed_form.few_solution import FewSolution
from everlearn.learning.closed_form.solution import Solution
from everlearn.learning.closed_form.solver import Solver
from everlearn.types import Example

CONFIG = ClosedFormConfig.of_size(256, gram_bits=12, sample_size=200, leverage_features=96)


def settled(
    examples: list[Example], config: ClosedFormConfig = CONFIG, sketch_size: int = 0
) -> ClosedFormLearner:
    learner = ClosedFormLearner(dense_size=DENSE_SIZE, sketch_size=sketch_size, config=config)
    learner.learn(examples)
    learner.settle()
    return learner


@pytest.mark.parametrize("num", [2, 5, 40, 97, 200])
@pytest.mark.parametrize("noise", [0.3, 1.5])
@pytest.mark.parametrize(("search_features", "sketch_size"), [(64, 0), (1024, 0), (64, DENSE_SIZE // 3)])
def test_it_is_the_solution_of_the_sums(
    num: int, noise: float, search_features: int, sketch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (few_solution, solution):
        monkeypatch.setattr(module, "SEARCH_FEATURES", search_features)
        monkeypatch.setattr(module, "SEARCH_MEMBERS", 60)
    examples, queries = make_examples(num, noise=noise), make_examples(30, noise=noise, seed=1)
    few = settled(examples, sketch_size=sketch_size)
    monkeypatch.setattr(Solver, "is_remade", False)
    monkeypatch.setattr(ridge, "FLOAT32_CONDITION", 0.0)  # in double precision
    summed = settled(examples, sketch_size=sketch_size)
    mine, other = few.frozen().solution, summed.frozen().solution
    assert isinstance(mine, FewSolution)
    assert isinstance(other, Solution)
    assert mine.settings.shrinkage == other.settings.shrinkage
    assert mine.settings.mixture.ridge_weight == pytest.approx(other.settings.mixture.ridge_weight, rel=1e-3)
    assert mine.settings.mixture.bayes_weight == pytest.approx(
        other.settings.mixture.bayes_weight, rel=1e-3, abs=1e-6
    )
    assert mine.settings.mixture.means_weights == pytest.approx(
        other.settings.mixture.means_weights, rel=1e-3, abs=1e-6
    )
    assert mine.settings.outlier_threshold == pytest.approx(other.settings.outlier_threshold, rel=1e-3)
    for one, its in zip(few.predict(queries), summed.predict(queries), strict=True):
        np.testing.assert_allclose(one.probabilities, its.probabilities, atol=5e-5)
        assert one.outlier_score == pytest.approx(its.outlier_score, rel=1e-4)
        assert one.label == its.label
    scores, expected = few.sample_scores(), summed.sample_scores()
    assert list(scores.ids) == list(expected.ids)
    assert scores.labels == expected.labels
    np.testing.assert_array_equal(scores.classes_S, expected.classes_S)
    np.testing.assert_allclose(scores.words_SC, expected.words_SC, atol=1e-9)
    np.testing.assert_allclose(scores.probabilities_SC, expected.probabilities_SC, atol=2e-4)


@settings(max_examples=15, deadline=None)
@given(num=st.integers(1, 60), seed=st.integers(0, 1000), more=st.integers(0, 60))
def test_its_bits_depend_on_the_set_alone(num: int, seed: int, more: int) -> None:
    """Also where more was learned and forgotten, so that sums are kept."""
    config = ClosedFormConfig.of_size(128, gram_bits=12, sample_size=60)
    examples, others = make_examples(num), make_examples(180, seed=1)[60 - more : 180]
    expected = settled(examples, config)
    shuffled = random.Random(seed).sample(examples, num)
    learner = ClosedFormLearner(dense_size=DENSE_SIZE, config=config)
    others = [Example(id=f"o{k}", target=one.target, code=one.code) for k, one in enumerate(others)]
    for batch in (others, shuffled[: num // 2], shuffled[num // 2 :]):
        learner.learn(batch)
    learner.forget(others)
    if learner.needs_resample:
        learner.resample(examples)
    learner.settle()
    queries = make_examples(9, seed=2)
    for mine, other in zip(learner.predict(queries), expected.predict(queries), strict=True):
        np.testing.assert_array_equal(mine.probabilities, other.probabilities)
        assert mine.outlier_score == other.outlier_score


def test_more_examples_than_features_are_solved_from_the_sums() -> None:
    config = ClosedFormConfig.of_size(64, gram_bits=12, sample_size=100)
    kinds = [type(settled(make_examples(num), config).frozen().solution) for num in (63, 64, 100, 101)]
    assert kinds == [FewSolution, Solution, Solution, Solution]
