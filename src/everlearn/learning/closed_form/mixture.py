"""One probability from several experts: weights and calibration in one convex problem.

p(y | x) = softmax(a·r(x) + b·s(x) + Σ c·m(x) + d·w(x)) with r, s, m and w the (half-standardised) scores of
the ridge, the naive Bayes, the class-mean and the word-ridge experts, of which the last two may be none. The
weights ≥ 0 minimise the log-loss of leave-one-out scores (and a weak prior), so they are also the mixture's
temperature, and they depend on the set of examples alone.

Legend: B examples, T examples that are fitted on, b examples of a block, C classes, E experts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from everlearn.types import FloatArray

__all__ = ["Mixture", "fit_mixture"]

_MAX_WEIGHT = 50.0  # where the sample is separated perfectly the optimum is at infinity
# Weights that do well on most sets. The squared distance from them counts as much as the loss of one
# example: with a handful of examples, of which leave-one-out says little, it decides; with a
# thousand it hardly matters. Of ridge and naive Bayes, and of so many class-mean experts:
_PRIOR_WEIGHTS = ((1.5, 0.3), (1.0, 0.3, 1.0), (1.0, 0.3, 0.7, 0.3))
_PRIOR_OF_WORDS = 0.3
_BLOCK_SCORES = 1 << 17  # 1 MB in float64: what is made of a block stays in the processor's cache
_KEPT_SCORES = 1 << 22  # of each expert: 32 MB


@dataclass(frozen=True, slots=True)
class Mixture:
    """How scores of the experts become probabilities.

    Attributes:
        ridge_weight: a.
        bayes_weight: b.
        ridge_spread: Typical spread (standard deviation over classes) of ridge scores.
        bayes_spread: The same of naive Bayes scores; 0 where there are no grams.
        loss: Mean leave-one-out log-loss in nats on the sample it was fitted on.
        means_weights: c of each class-mean expert.
        means_spreads: Typical spread of the scores of each.
        words_weight: d; None: there is no word-ridge expert.
        words_spread: Typical spread of its scores.
    """

    ridge_weight: float
    bayes_weight: float
    ridge_spread: float
    bayes_spread: float
    loss: float
    means_weights: Sequence[float] = ()
    means_spreads: Sequence[float] = ()
    words_weight: float | None = None
    words_spread: float = 0.0

    def probabilities(self, ridge_BC: FloatArray, bayes_BC: FloatArray, *others_BC: FloatArray) -> FloatArray:
        """Probabilities (B, C) from raw scores of the experts that it was fitted on, in their order."""
        weights, spreads = list(self.means_weights), list(self.means_spreads)
        if self.words_weight is not None:
            weights.append(self.words_weight)
            spreads.append(self.words_spread)
        logits = self.ridge_weight * half_standardised(ridge_BC, self.ridge_spread)
        logits += self.bayes_weight * half_standardised(bayes_BC, self.bayes_spread)
        for weight, spread, scores_BC in zip(weights, spreads, others_BC, strict=True):
            logits += weight * half_standardised(scores_BC, spread)
        return _softmax(logits)


def half_standardised(scores_BC: FloatArray, spread: float) -> FloatArray:
    """Centre scores over the classes and divide them by √(own variance + spread²).

    Full standardisation makes texts of different lengths comparable, but throws away how clear a
    case is (with two classes it leaves nothing but the sign); this keeps some of both.
    """
    if spread == 0.0:
        return np.zeros_like(scores_BC)
    means_B, scales_B = _center_and_scale(scores_BC, spread)
    return np.asarray((scores_BC - means_B[:, None]) / scales_B[:, None])


def _center_and_scale(scores_BC: FloatArray, spread: float) -> tuple[FloatArray, FloatArray]:
    # As ``mean`` and ``var``, to the bit, which for one text take longer to be called than to compute.
    num_classes = scores_BC.shape[1]
    means_B = np.add.reduce(scores_BC, axis=1) / num_classes
    centred_BC = scores_BC - means_B[:, None]
    centred_BC -= np.add.reduce(centred_BC, axis=1, keepdims=True) / num_classes
    variances_B = np.add.reduce(np.square(centred_BC, out=centred_BC), axis=1) / num_classes
    return means_B, np.sqrt(variances_B + spread**2)


def fit_mixture(
    experts: Sequence[FloatArray],
    classes_B: npt.NDArray[np.int64],
    is_telling_B: npt.NDArray[np.bool_] | None = None,
    *,
    has_words: bool = False,
) -> Mixture:
    """Fit weights on leave-one-out scores (B, C) of examples of the given classes.

    Damped Newton steps, projected to weights ≥ 0. Deterministic.

    Args:
        experts: Scores of the ridge expert, of the naive Bayes expert, of class-mean experts (two at most),
            and of the word-ridge expert.
        classes_B: Class of each example.
        is_telling_B: Examples to fit on; None: all. With none, the weights are the prior's.
        has_words: Whether the last expert is the word ridge.
    """
    spreads = np.array([_spread(scores_BC) for scores_BC in experts])
    can_tell = np.append(True, spreads[1:] > 0)
    prior = np.array(_PRIOR_WEIGHTS[len(experts) - has_words - 2] + (_PRIOR_OF_WORDS,) * has_words)
    weights = prior * can_tell
    rows_T = np.arange(len(classes_B)) if is_telling_B is None else np.flatnonzero(is_telling_B)
    if not len(rows_T):
        return _mixture(weights, spreads, 0.0, has_words)
    scores = _Experts(experts, spreads, rows_T, classes_B[rows_T])
    loss = _loss(weights, prior, scores)
    for _ in range(40):
        gradient, hessian = _derivatives(weights, prior, scores)
        free = ((weights > 0) | (gradient < 0)) & can_tell
        if not free.any():
            break
        step = np.zeros(len(weights))
        step[free] = np.linalg.solve(hessian[np.ix_(free, free)] + 1e-9 * np.eye(free.sum()), gradient[free])
        size = 1.0
        while size > 1e-4:
            tried = np.clip(weights - size * step, 0.0, _MAX_WEIGHT)
            tried_loss = _loss(tried, prior, scores)
            if tried_loss < loss:
                break
            size /= 2
        else:
            break
        moved = np.abs(tried - weights).max()
        weights, loss = tried, tried_loss
        if moved < 1e-6:
            break
    return _mixture(weights, spreads, loss, has_words)


def _mixture(weights_E: FloatArray, spreads_E: FloatArray, loss: float, has_words: bool) -> Mixture:
    ridge, bayes, *means = weights_E.tolist()
    ridge_spread, bayes_spread, *spreads = spreads_E.tolist()
    words, words_spread = (means.pop(), spreads.pop()) if has_words else (None, 0.0)
    return Mixture(ridge, bayes, ridge_spread, bayes_spread, float(loss), means, spreads, words, words_spread)


_Block = tuple[list[FloatArray], npt.NDArray[np.int64]]


class _Experts:
    """Scores of all experts, half-standardised, a block of rows at a time.

    Few are kept so. With thousands of classes they would be most of the memory of a solve, and each step of
    the fit makes them anew.

    Args:
        experts: Scores (B, C) of each.
        spreads: Of each.
        rows_T: The rows that are fitted on.
        classes_T: Their classes.
    """

    def __init__(
        self,
        experts: Sequence[FloatArray],
        spreads: FloatArray,
        rows_T: npt.NDArray[np.int64],
        classes_T: npt.NDArray[np.int64],
    ) -> None:
        self._classes_T = classes_T
        self._scores = [
            _Standardised(scores_BC, float(spread), rows_T)
            for scores_BC, spread in zip(experts, spreads, strict=True)
        ]
        self._num_classes = experts[0].shape[1]
        is_small = len(rows_T) * self._num_classes <= _KEPT_SCORES
        self._kept = tuple(self._made()) if is_small else None

    def __len__(self) -> int:
        return len(self._classes_T)

    def blocks(self) -> Iterable[_Block]:
        """Scores (b, C) of each expert and classes (b,), in the order of the rows."""
        return self._made() if self._kept is None else self._kept

    def _made(self) -> Iterator[_Block]:
        for part in _blocks(len(self), self._num_classes):
            yield [one.of(part) for one in self._scores], self._classes_T[part]


class _Standardised:
    """Some rows of one expert's scores as ``half_standardised`` makes them, which is what asks for time."""

    def __init__(self, scores_BC: FloatArray, spread: float, rows_T: npt.NDArray[np.int64]) -> None:
        self._scores_BC = scores_BC
        self._rows_T = rows_T
        self._means_T, self._scales_T = np.zeros(len(rows_T)), np.full(len(rows_T), np.inf)
        if spread:  # without one, all scores are 0
            for part in _blocks(len(rows_T), scores_BC.shape[1]):
                self._means_T[part], self._scales_T[part] = _center_and_scale(self._raw(part), spread)

    def _raw(self, part: slice) -> FloatArray:
        return self._scores_BC[self._rows_T[part]].astype(np.float64, copy=False)

    def of(self, part: slice) -> FloatArray:
        """Scores (b, C) of a part of the rows."""
        scores_bC = self._raw(part) - self._means_T[part, None]
        scores_bC /= self._scales_T[part, None]
        return scores_bC


def _blocks(num_rows: int, num_classes: int) -> Iterator[slice]:
    size = max(1, _BLOCK_SCORES // max(1, num_classes))
    for start in range(0, num_rows, size):
        yield slice(start, start + size)


def _spread(scores_BC: FloatArray) -> float:
    if not scores_BC.size:
        return 0.0
    variances = [scores_BC[part].astype(np.float64).var(axis=1) for part in _blocks(*scores_BC.shape)]
    return float(np.sqrt(np.concatenate(variances).mean()))


def _logits(weights: FloatArray, scores: Sequence[FloatArray]) -> FloatArray:
    logits: FloatArray = weights[0] * scores[0]
    for weight, others in zip(weights[1:], scores[1:], strict=True):
        logits = logits + weight * others
    return logits


def _loss(weights: FloatArray, prior: FloatArray, experts: _Experts) -> float:
    own_T = np.concatenate(
        [
            _softmax(_logits(weights, scores))[np.arange(len(classes)), classes]
            for scores, classes in experts.blocks()
        ]
    )
    pull = ((weights - prior) ** 2).sum() / len(experts)
    return float(-np.log(np.maximum(own_T, 1e-300)).mean() + pull)


def _derivatives(weights: FloatArray, prior: FloatArray, experts: _Experts) -> tuple[FloatArray, FloatArray]:
    num, size = len(experts), len(weights)
    gradient, hessian = np.zeros(size), np.zeros((size, size))
    for scores, classes in experts.blocks():
        probabilities = _softmax(_logits(weights, scores))
        weighted = [probabilities * one for one in scores]
        means_Eb = np.array([products.sum(axis=1) for products in weighted])
        rows = np.arange(len(classes))
        own_Eb = np.array([one[rows, classes] for one in scores])
        gradient += (means_Eb - own_Eb).sum(axis=1) / num
        # Not by BLAS: its threads wait for each other, which takes milliseconds where others use the cores.
        second = np.array(
            [[np.einsum("bc,bc->", products, other) for other in scores] for products in weighted]
        )
        hessian += (second - np.einsum("eb,fb->ef", means_Eb, means_Eb)) / num
    pull = 2 / num
    return gradient + pull * (weights - prior), hessian + pull * np.eye(size)


def _softmax(logits: FloatArray) -> FloatArray:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))
