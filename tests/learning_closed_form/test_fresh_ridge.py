"""A base and rows say what a ridge solution of all examples says, by another one in double precision."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from everlearn.learning.closed_form.gram_sums import GramSums
from everlearn.learning.closed_form.live.fresh_ridge import FreshRidge
from everlearn.learning.closed_form.live.ridge_base import DualBase, ExactProducts, PrimalBase
from everlearn.learning.closed_form.ridge import CentredGram
from everlearn.learning.closed_form.shrinkage import Shrinkage

NUM_FEATURES, STRENGTH = 96, 0.1
SKETCHED = torch.arange(3, NUM_FEATURES, 4)


class Reference:
    """Ridge regression with a free intercept, by the normal equations of all examples in float64."""

    def __init__(
        self,
        features: torch.Tensor,
        classes: torch.Tensor,
        num_classes: int,
        strength: float,
        sketch_weight: float = 1.0,
    ) -> None:
        inputs = features.double()
        targets = torch.nn.functional.one_hot(classes, num_classes).double()
        self.mean, self.prior, self.num = inputs.mean(dim=0), targets.mean(dim=0), len(inputs)
        centred = inputs - self.mean
        penalties = torch.full((NUM_FEATURES,), strength, dtype=torch.float64)
        penalties[SKETCHED] = strength / sketch_weight
        matrix = centred.T @ centred + torch.diag(penalties)
        self.inverse = torch.linalg.inv(matrix)
        self.weights = self.inverse @ centred.T @ (targets - self.prior)

    def scores(self, features: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = (features.double() - self.mean) @ self.weights + self.prior
        return scores

    def leverages(self, features: torch.Tensor) -> torch.Tensor:
        centred = features.double() - self.mean
        leverages: torch.Tensor = ((centred @ self.inverse) * centred).sum(dim=1) + 1 / self.num
        return leverages


def features_of(num: int, generator: np.random.Generator) -> torch.Tensor:
    return torch.from_numpy(generator.integers(-60, 127, (num, NUM_FEATURES)).astype(np.int8))


def fresh_of(
    kind: str,
    features: torch.Tensor,
    classes: torch.Tensor,
    num_classes: int,
    sketch_weight: float = 1.0,
) -> tuple[FreshRidge, float]:
    """By a base of these examples, and its λ."""
    shrinkage = Shrinkage(STRENGTH, sketch_weight)
    if kind == "few":
        products = ExactProducts(lambda: features, SKETCHED)
        base = DualBase(products, torch.bincount(classes, minlength=num_classes), shrinkage)
        centred = features.double() - features.double().mean(dim=0)
        return FreshRidge.of_few(base, products, classes), STRENGTH * float(
            centred.square().sum() / len(features)
        )
    sums = GramSums(NUM_FEATURES, 50, torch.device("cpu"), SKETCHED)
    sums.add(features, classes, num_classes)
    ridge = CentredGram(sums, NUM_FEATURES, list(range(num_classes))).solve(*shrinkage)
    return FreshRidge(PrimalBase(ridge)), STRENGTH * ridge.root_scale**2


Changes = list[tuple[int, Literal[1, -1]]]


@pytest.mark.parametrize("kind", ["few", "many"])
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    num_first=st.integers(3, 150),
    changes=st.lists(st.tuples(st.integers(1, 20), st.sampled_from([1, 1, 1, -1])), max_size=8),
    weight=st.sampled_from([0.03, 1.0, 3.0]),
)
def test_rows_say_what_a_solution_of_all_says(
    kind: str, seed: int, num_first: int, changes: Changes, weight: float
) -> None:
    generator = np.random.default_rng(seed)
    features = features_of(num_first, generator)
    classes = torch.from_numpy(generator.integers(0, 3, num_first))
    fresh, strength = fresh_of(kind, features, classes, 3, weight)
    num_classes = 3
    for num, sign in changes:
        if sign > 0:
            num_classes += int(generator.integers(0, 2))  # a label may be new
            new = features_of(num, generator)
            of_new = torch.from_numpy(generator.integers(0, num_classes, num))
            assert fresh.add(fresh.see(new), of_new, num_classes)
            features, classes = torch.cat([features, new]), torch.cat([classes, of_new])
        else:
            gone = torch.from_numpy(generator.permutation(len(features))[: min(num, len(features) - 2)])
            if not fresh.add(fresh.see(features[gone]), classes[gone], num_classes, -1):
                continue  # it says so, and is as before
            kept = torch.ones(len(features), dtype=torch.bool)
            kept[gone] = False
            features, classes = features[kept], classes[kept]
    reference = Reference(features, classes, num_classes, strength, weight)
    queries = features_of(7, generator)
    seen = fresh.see(queries)
    found = torch.zeros(7, num_classes)
    scores = fresh.scores(seen)
    found[:, : scores.shape[1]] = scores
    np.testing.assert_allclose(found, reference.scores(queries), atol=2e-3)
    np.testing.assert_allclose(fresh.leverages(seen), reference.leverages(queries), rtol=2e-2, atol=1e-4)


def test_left_out_is_never_having_seen() -> None:
    generator = np.random.default_rng(0)
    features, classes = features_of(40, generator), torch.from_numpy(generator.integers(0, 3, 40))
    fresh, strength = fresh_of("few", features, classes, 3)
    members = torch.tensor([0, 7, 39])
    scores, leverages = fresh.without_self(members, classes[members])
    for place, member in enumerate(members.tolist()):
        others = torch.arange(40) != member
        # λ is of the whole, whose mean is that of one more example.
        reference = Reference(features[others], classes[others], 3, strength)
        alone = features[member : member + 1]
        np.testing.assert_allclose(scores[place], reference.scores(alone)[0], atol=1e-4)
        np.testing.assert_allclose(leverages[place], reference.leverages(alone)[0], rtol=1e-3)


def test_a_copy_stays_as_it_is() -> None:
    generator = np.random.default_rng(0)
    features, classes = features_of(30, generator), torch.from_numpy(generator.integers(0, 3, 30))
    queries = features_of(5, generator)
    fresh, _ = fresh_of("few", features, classes, 3)
    copy = fresh.frozen()
    before = copy.scores(copy.see(queries))
    for _ in range(40):
        fresh.add(fresh.see(features_of(3, generator)), torch.tensor([0, 1, 3]), 4)
    assert torch.equal(copy.scores(copy.see(queries)), before)
    assert fresh.scores(fresh.see(queries)).shape == (5, 4)


def test_what_cannot_be_taken_out_in_this_precision_is_said() -> None:
    generator = np.random.default_rng(0)
    features = features_of(2, generator)
    fresh, _ = fresh_of("few", features, torch.tensor([0, 1]), 2)
    queries = features_of(3, generator)
    before = fresh.scores(fresh.see(queries))
    # Without the one of two examples nothing is left that a mean and λ could be of.
    assert not fresh.add(fresh.see(features), torch.tensor([0, 1]), 2, -1)
    assert torch.equal(fresh.scores(fresh.see(queries)), before)
