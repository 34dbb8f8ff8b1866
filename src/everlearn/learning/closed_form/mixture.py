"""One probability from two experts: weights and calibration in one convex problem.

p(y | x) = softmax(a·r(x) + b·s(x)) with r and s the (half-standardised) scores of the ridge and the
naive Bayes expert. a ≥ 0 and b ≥ 0 minimise the log-loss of leave-one-out scores (and a weak prior), so
they are both the mixture's weights and its temperature, and they depend on the set of examples alone.

Legend: B examples, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from everlearn.types import FloatArray

__all__ = ["Mixture", "fit_mixture"]

_MAX_WEIGHT = 50.0  # where the sample is separated perfectly the optimum is at infinity
# Weights that do well on most sets. The squared distance from them counts as much as the loss of one
# example: with a handful of examples, of which leave-one-out says little, it decides; with a
# thousand it hardly matters.
_PRIOR_WEIGHTS = np.array([1.5, 0.3])


@dataclass(frozen=True, slots=True)
class Mixture:
    """How scores of the two experts become probabilities.

    Attributes:
        ridge_weight: a.
        bayes_weight: b.
        ridge_spread: Typical spread (standard deviation over classes) of ridge scores.
        bayes_spread: The same of naive Bayes scores; 0 where there are no grams.
        loss: Mean leave-one-out log-loss in nats on the sample it was fitted on.
    """

    ridge_weight: float
    bayes_weight: float
    ridge_spread: float
    bayes_spread: float
    loss: float

    def probabilities(self, ridge_BC: FloatArray, bayes_BC: FloatArray) -> FloatArray:
        """Probabilities (B, C) from raw scores of the experts."""
        logits = self.ridge_weight * half_standardised(ridge_BC, self.ridge_spread)
        logits += self.bayes_weight * half_standardised(bayes_BC, self.bayes_spread)
        return _softmax(logits)


def half_standardised(scores_BC: FloatArray, spread: float) -> FloatArray:
    """Centre scores over the classes and divide them by √(own variance + spread²).

    Full standardisation makes texts of different lengths comparable, but throws away how clear a
    case is (with two classes it leaves nothing but the sign); this keeps some of both.
    """
    if spread == 0.0:
        return np.zeros_like(scores_BC)
    centred = scores_BC - scores_BC.mean(axis=1, keepdims=True)
    return np.asarray(centred / np.sqrt(centred.var(axis=1, keepdims=True) + spread**2))


def fit_mixture(
    ridge_BC: FloatArray,
    bayes_BC: FloatArray,
    classes_B: npt.NDArray[np.int64],
    is_telling_B: npt.NDArray[np.bool_] | None = None,
) -> Mixture:
    """Fit weights on leave-one-out scores (B, C) of examples of the given classes.

    Damped Newton steps, projected to a, b ≥ 0. Deterministic.

    Args:
        ridge_BC: Scores of the ridge expert.
        bayes_BC: Scores of the naive Bayes expert.
        classes_B: Class of each example.
        is_telling_B: Examples to fit on; None: all. With none, the weights are the prior's.
    """
    ridge_spread = _spread(ridge_BC)
    bayes_spread = _spread(bayes_BC)
    weights = _PRIOR_WEIGHTS * (1.0, bayes_spread > 0)
    if is_telling_B is not None:
        ridge_BC, bayes_BC, classes_B = (
            ridge_BC[is_telling_B],
            bayes_BC[is_telling_B],
            classes_B[is_telling_B],
        )
    if not len(classes_B):
        return Mixture(float(weights[0]), float(weights[1]), ridge_spread, bayes_spread, 0.0)
    experts = np.stack([half_standardised(ridge_BC, ridge_spread), half_standardised(bayes_BC, bayes_spread)])
    loss = _loss(weights, experts, classes_B)
    for _ in range(40):
        gradient, hessian = _derivatives(weights, experts, classes_B)
        free = (weights > 0) | (gradient < 0)
        if bayes_spread == 0.0:
            free[1] = False
        if not free.any():
            break
        step = np.zeros(2)
        step[free] = np.linalg.solve(hessian[np.ix_(free, free)] + 1e-9 * np.eye(free.sum()), gradient[free])
        size = 1.0
        while size > 1e-4:
            tried = np.clip(weights - size * step, 0.0, _MAX_WEIGHT)
            tried_loss = _loss(tried, experts, classes_B)
            if tried_loss < loss:
                break
            size /= 2
        else:
            break
        moved = np.abs(tried - weights).max()
        weights, loss = tried, tried_loss
        if moved < 1e-6:
            break
    return Mixture(float(weights[0]), float(weights[1]), ridge_spread, bayes_spread, float(loss))


def _spread(scores_BC: FloatArray) -> float:
    return float(np.sqrt(scores_BC.var(axis=1).mean())) if scores_BC.size else 0.0


def _loss(weights: FloatArray, experts: npt.NDArray[np.float64], classes_B: npt.NDArray[np.int64]) -> float:
    probabilities = _softmax(np.tensordot(weights, experts, axes=1))
    own = probabilities[np.arange(len(classes_B)), classes_B]
    prior = ((weights - _PRIOR_WEIGHTS) ** 2).sum() / len(classes_B)
    return float(-np.log(np.maximum(own, 1e-300)).mean() + prior)


def _derivatives(
    weights: FloatArray, experts: npt.NDArray[np.float64], classes_B: npt.NDArray[np.int64]
) -> tuple[FloatArray, FloatArray]:
    probabilities = _softmax(np.tensordot(weights, experts, axes=1))
    rows = np.arange(len(classes_B))
    means = np.einsum("bc,kbc->kb", probabilities, experts)
    gradient = (means - experts[:, rows, classes_B]).mean(axis=1)
    second = np.einsum("bc,kbc,lbc->kl", probabilities, experts, experts, optimize=True) / len(classes_B)
    hessian = second - means @ means.T / len(classes_B)
    pull = 2 / len(classes_B)
    return gradient + pull * (weights - _PRIOR_WEIGHTS), hessian + pull * np.eye(2)


def _softmax(logits: FloatArray) -> FloatArray:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))
