from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax

from everlearn.learning.closed_form.mixture import fit_mixture, half_standardised


def scores(
    num_classes: int, quality: float, seed: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, num_classes, size=300)
    made = rng.normal(size=(300, num_classes))
    made[np.arange(300), classes] += quality
    return made, classes


@pytest.mark.parametrize(
    ("num_classes", "ridge_quality", "bayes_quality"), [(2, 1.0, 1.0), (7, 2.0, 0.3), (30, 0.5, 3.0)]
)
def test_weights_minimise_the_log_loss(num_classes: int, ridge_quality: float, bayes_quality: float) -> None:
    ridge, classes = scores(num_classes, ridge_quality, 0)
    rng = np.random.default_rng(1)
    bayes = rng.normal(size=ridge.shape)
    bayes[np.arange(300), classes] += bayes_quality
    mixture = fit_mixture(ridge, bayes, classes)
    experts = [half_standardised(ridge, mixture.ridge_spread), half_standardised(bayes, mixture.bayes_spread)]

    def loss(w: npt.NDArray[np.float64]) -> float:
        logits = log_softmax(w[0] * experts[0] + w[1] * experts[1], axis=1)
        prior = ((w - [1.5, 0.3]) ** 2).sum() / 300
        return float(-logits[np.arange(300), classes].mean() + prior)

    found = minimize(loss, [0.5, 0.5], bounds=[(0, 50), (0, 50)], tol=1e-12)
    assert mixture.loss == pytest.approx(found.fun, abs=1e-7)
    np.testing.assert_allclose([mixture.ridge_weight, mixture.bayes_weight], found.x, atol=2e-3)


def test_a_useless_expert_gets_no_weight_and_a_silent_one_does_no_harm() -> None:
    ridge, classes = scores(5, 2.0, 3)
    against = -ridge
    assert fit_mixture(ridge, against, classes).bayes_weight == 0.0
    silent = fit_mixture(ridge, np.zeros_like(ridge), classes)
    assert silent.bayes_weight == 0.0
    assert silent.probabilities(ridge, np.zeros_like(ridge)).sum(axis=1) == pytest.approx(1.0)


def test_probabilities_are_calibrated_on_the_sample() -> None:
    ridge, classes = scores(4, 1.5, 5)
    probabilities = fit_mixture(ridge, np.zeros_like(ridge), classes).probabilities(
        ridge, np.zeros_like(ridge)
    )
    accuracy = (probabilities.argmax(axis=1) == classes).mean()
    assert probabilities.max(axis=1).mean() == pytest.approx(accuracy, abs=0.05)


def test_perfect_separation_stays_finite() -> None:
    classes = np.arange(60) % 3
    ridge = np.eye(3)[classes] * 10
    mixture = fit_mixture(ridge, np.zeros_like(ridge), classes)
    assert 0 < mixture.ridge_weight <= 50
