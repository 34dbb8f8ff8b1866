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
@pytest.mark.parametrize("means_quality", [(), (1.0,), (1.5, 0.4)])
def test_weights_minimise_the_log_loss(
    num_classes: int, ridge_quality: float, bayes_quality: float, means_quality: tuple[float, ...]
) -> None:
    ridge, classes = scores(num_classes, ridge_quality, 0)
    rng = np.random.default_rng(1)
    bayes = rng.normal(size=ridge.shape)
    bayes[np.arange(300), classes] += bayes_quality
    means = [scores(num_classes, quality, 2 + k)[0] * 0.1 for k, quality in enumerate(means_quality)]
    for one, quality in zip(means, means_quality, strict=True):
        one[np.arange(300), classes] += 0.1 * quality
    mixture = fit_mixture([ridge, bayes, *means], classes)
    spreads = [mixture.ridge_spread, mixture.bayes_spread, *mixture.means_spreads]
    experts = np.array(
        [half_standardised(one, spread) for one, spread in zip([ridge, bayes, *means], spreads, strict=True)]
    )
    pulled_to = {0: [1.5, 0.3], 1: [1.0, 0.3, 1.0], 2: [1.0, 0.3, 0.7, 0.3]}[len(means)]

    def loss(w: npt.NDArray[np.float64]) -> float:
        logits = log_softmax(np.tensordot(w, experts, 1), axis=1)
        prior = ((w - pulled_to) ** 2).sum() / 300
        return float(-logits[np.arange(300), classes].mean() + prior)

    found = minimize(loss, [0.5] * len(experts), bounds=[(0, 50)] * len(experts), tol=1e-12)
    assert mixture.loss == pytest.approx(found.fun, abs=1e-7)
    weights = [mixture.ridge_weight, mixture.bayes_weight, *mixture.means_weights]
    np.testing.assert_allclose(weights, found.x, atol=2e-3)
    assert mixture.probabilities(ridge, bayes, *means)[np.arange(300), classes] == pytest.approx(
        np.exp(log_softmax(np.tensordot(weights, experts, 1), axis=1)[np.arange(300), classes])
    )


def test_a_useless_expert_gets_no_weight_and_a_silent_one_does_no_harm() -> None:
    ridge, classes = scores(5, 2.0, 3)
    against = -ridge
    assert fit_mixture([ridge, against], classes).bayes_weight == 0.0
    silent = fit_mixture([ridge, np.zeros_like(ridge)], classes)
    assert silent.bayes_weight == 0.0
    assert silent.probabilities(ridge, np.zeros_like(ridge)).sum(axis=1) == pytest.approx(1.0)


def test_probabilities_are_calibrated_on_the_sample() -> None:
    ridge, classes = scores(4, 1.5, 5)
    probabilities = fit_mixture([ridge, np.zeros_like(ridge)], classes).probabilities(
        ridge, np.zeros_like(ridge)
    )
    accuracy = (probabilities.argmax(axis=1) == classes).mean()
    assert probabilities.max(axis=1).mean() == pytest.approx(accuracy, abs=0.05)


def test_perfect_separation_stays_finite() -> None:
    classes = np.arange(60) % 3
    ridge = np.eye(3)[classes] * 10
    mixture = fit_mixture([ridge, np.zeros_like(ridge)], classes)
    assert 0 < mixture.ridge_weight <= 50
