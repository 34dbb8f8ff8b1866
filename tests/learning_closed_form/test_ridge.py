from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from everlearn.errors import StateError
from everlearn.learning.closed_form.gram_sums import GramSums
from everlearn.learning.closed_form.ridge import CentredGram, RidgeSolution


def problem(
    num: int = 300, num_features: int = 60
) -> tuple[torch.Tensor, torch.Tensor, npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    generator = torch.Generator().manual_seed(0)
    features = torch.randint(-60, 90, (num, num_features), generator=generator, dtype=torch.int8)
    classes = (features[:, 0] > 0).long() + 2 * (features[:, 1] > 10).long()
    return features, classes, features.double().numpy(), np.eye(4)[classes.numpy()]


def solved(features: torch.Tensor, classes: torch.Tensor, strength: float) -> RidgeSolution:
    sums = GramSums(features.shape[1], 64, torch.device("cpu"))
    sums.add(features, classes, 4)
    return CentredGram(sums, features.shape[1], [0, 1, 2, 3]).solve(strength)


def reference(
    phi: npt.NDArray[np.float64],
    one_hot: npt.NDArray[np.float64],
    x: npt.NDArray[np.float64],
    strength: float,
    scale: float | None = None,
) -> npt.NDArray[np.float64]:
    """Ridge with a free intercept, in float64, from the data themselves."""
    mean, prior = phi.mean(0), one_hot.mean(0)
    centred = phi - mean
    scale = (centred**2).sum() / len(phi) if scale is None else scale
    weights = np.linalg.solve(
        centred.T @ centred + strength * scale * np.eye(phi.shape[1]), centred.T @ (one_hot - prior)
    )
    return np.asarray((x - mean) @ weights + prior)


@pytest.mark.parametrize("strength", [1e-4, 0.03, 3.0])  # the first takes the float64 path
def test_scores_are_those_of_batch_ridge(strength: float) -> None:
    features, classes, phi, one_hot = problem()
    scores = solved(features, classes, strength).scores(features[:40]).numpy()
    np.testing.assert_allclose(scores, reference(phi, one_hot, phi[:40], strength), atol=2e-5)


@pytest.mark.parametrize("num_features", [255, 256, 257, 700])
def test_factorizing_in_blocks_is_the_same(num_features: int) -> None:
    features, classes, phi, one_hot = problem(900, num_features)
    solution = solved(features, classes, 0.1)
    expected = reference(phi, one_hot, phi[:40], 0.1)
    np.testing.assert_allclose(solution.scores(features[:40]).numpy(), expected, atol=2e-5)
    assert not solution.factor_mm.triu(1).any()


def test_what_is_not_positive_definite_is_told() -> None:
    sums = GramSums(600, 64, torch.device("cpu"))
    sums.add(*problem(900, 600)[:2], 4)
    sums.panels()[1][80, 592] -= 5 * 10**6  # in the third block of columns
    with pytest.raises(StateError, match="not positive definite"):
        CentredGram(sums, 600, [0, 1, 2, 3]).solve(0.1)


def test_class_order_permutes_columns() -> None:
    features, classes, *_ = problem()
    sums = GramSums(60, 64, torch.device("cpu"))
    sums.add(features, classes, 4)
    straight = CentredGram(sums, 60, [0, 1, 2, 3]).solve(0.1).scores(features[:5])
    turned = CentredGram(sums, 60, [3, 1, 0, 2]).solve(0.1).scores(features[:5])
    torch.testing.assert_close(turned, straight[:, [3, 1, 0, 2]])


def test_leading_features_are_a_smaller_problem() -> None:
    features, classes, phi, one_hot = problem()
    sums = GramSums(60, 64, torch.device("cpu"))
    sums.add(features, classes, 4)
    scores = CentredGram(sums, 25, [0, 1, 2, 3]).solve(0.05).scores(features[:9]).numpy()
    np.testing.assert_allclose(scores, reference(phi[:, :25], one_hot, phi[:9, :25], 0.05), atol=2e-5)


def test_leave_one_out_is_what_refitting_without_the_example_says() -> None:
    features, classes, phi, one_hot = problem(num=80, num_features=30)
    solution = solved(features, classes, 0.05)
    left_out = solution.scores_without_self(features[:10], classes[:10]).numpy()
    scale = float(((phi - phi.mean(0)) ** 2).sum() / len(phi))
    for k in range(10):
        rest = np.arange(80) != k
        refitted = reference(phi[rest], one_hot[rest], phi[k : k + 1], 0.05, scale)[0]
        np.testing.assert_allclose(left_out[k], refitted, atol=2e-4)


def test_leverage_is_the_hat_matrix_diagonal() -> None:
    features, classes, phi, _ = problem()
    solution = solved(features, classes, 0.05)
    centred = phi - phi.mean(0)
    scale = (centred**2).sum() / len(phi)
    inverse = np.linalg.inv(centred.T @ centred + 0.05 * scale * np.eye(60))
    hat = np.einsum("bm,mn,bn->b", centred, inverse, centred) + 1 / len(phi)
    np.testing.assert_allclose(solution.leverages(features, 60).numpy(), hat, rtol=1e-3)


def test_sums_that_no_data_can_have_are_refused() -> None:
    features, classes, *_ = problem()
    sums = GramSums(60, 64, torch.device("cpu"))
    sums.add(features, classes, 4)
    sums.panels()[0].diagonal().sub_(10**7)
    with pytest.raises(StateError, match="not positive definite"):
        CentredGram(sums, 60, [0, 1, 2, 3]).solve(0.1)
