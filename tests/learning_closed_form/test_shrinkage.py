"""The search for the best shrinkage ends where nothing near is better, and never leaves its grid."""

from __future__ import annotations

import itertools
import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from everlearn.learning.closed_form.features import FeatureMap
from everlearn.learning.closed_form.shrinkage import FLOAT32_CONDITION, Shrinkage, ShrinkageGrid


def test_without_a_sketch_there_is_one_weight() -> None:
    assert ShrinkageGrid.of(100, has_sketch=False).weights == (1.0,)
    assert len(ShrinkageGrid.of(100, has_sketch=True).weights) > 2


def test_small_strengths_are_left_out_where_there_are_millions_of_examples() -> None:
    assert min(ShrinkageGrid.of(1_000, has_sketch=True).strengths) == 0.003
    assert min(ShrinkageGrid.of(1_000_000, has_sketch=True).strengths) == 1.0
    assert ShrinkageGrid.of(10**9, has_sketch=True).strengths == (10.0,)


@given(seed=st.integers(0, 10**6), has_sketch=st.booleans(), levels=st.integers(1, 9))
def test_the_best_is_no_worse_than_what_is_near(seed: int, has_sketch: bool, levels: int) -> None:
    grid = ShrinkageGrid.of(500, has_sketch=has_sketch)
    generator = random.Random(seed)
    losses = {  # few levels: many are equal
        Shrinkage(*pair): float(generator.randrange(levels))
        for pair in itertools.product(grid.strengths, grid.weights)
    }
    best = grid.best(losses.__getitem__)
    assert losses[grid.best_near(best, losses.__getitem__)] == losses[best]
    assert grid.best(losses.__getitem__) == best


def test_the_least_of_a_smooth_loss_is_found() -> None:
    grid = ShrinkageGrid.of(500, has_sketch=True)
    for wanted in itertools.product(grid.strengths, grid.weights):
        place = (grid.strengths.index(wanted[0]), grid.weights.index(wanted[1]))

        def loss(tried: Shrinkage, place: tuple[int, int] = place) -> float:
            row, column = grid.strengths.index(tried.strength), grid.weights.index(tried.sketch_weight)
            return (row - place[0]) ** 2 + (column - place[1]) ** 2

        assert grid.best(loss) == wanted


def test_a_larger_strength_is_not_tried_where_it_is_not_asked_for() -> None:
    grid = ShrinkageGrid.of(500, has_sketch=False)
    assert grid.best_near(Shrinkage(0.1), lambda tried: -tried.strength).strength == 0.3
    assert grid.best_near(Shrinkage(0.1), lambda tried: -tried.strength, may_grow=False).strength == 0.1


def test_features_of_the_sketch_are_where_they_are_said_to_be() -> None:
    features = FeatureMap(40, 10, 8, 60, seed=0, device=torch.device("cpu"))
    code = torch.zeros(1, 40, dtype=torch.int8)
    code[0, 32:] = torch.arange(1, 9)
    assert features(code)[0, features.sketched].tolist() == list(range(1, 9))
    assert int((features(code) != 0).sum()) == 8
    assert len(FeatureMap(40, 10, 0, 60, seed=0, device=torch.device("cpu")).sketched) == 0


@pytest.mark.parametrize("strength", [0.003, 0.01, 1.0, 10.0])
@pytest.mark.parametrize("num_examples", [1, 6_000, 20_001, 2_000_000, 19_999_999])
def test_a_kept_strength_is_raised_as_far_as_float32_asks(strength: float, num_examples: int) -> None:
    found = Shrinkage(strength, 0.3).for_float32(num_examples)
    assert found.sketch_weight == 0.3
    assert num_examples / found.strength <= FLOAT32_CONDITION
    if num_examples / strength <= FLOAT32_CONDITION:
        assert found.strength == strength
    else:
        assert num_examples / found.strength > 0.999 * FLOAT32_CONDITION


def test_beyond_the_largest_strength_float64_takes_over() -> None:
    assert Shrinkage(10.0).for_float32(10**9) == Shrinkage(10.0)
