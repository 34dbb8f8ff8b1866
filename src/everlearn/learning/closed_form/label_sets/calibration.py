"""From ridge scores to a probability for each label, and to the set of labels that is predicted.

A column of the ridge expert estimates the share of examples like this one that have the label. With π the
share of all examples that have it, p = σ(a·(score - π)/√(π(1 - π)) + logit π + e): one slope for all,
chosen for the least log-loss of leave-one-out scores, and a shift e for each, so that a label's probabilities
are π on average. A label is predicted where its probability reaches its threshold. Thresholds are those of
largest F1 on the same scores; the threshold of a label that few examples have is near that of all labels.

Legend: B examples, S of them that are fitted on, C labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from everlearn.types import FloatArray, Json

__all__ = ["Calibration", "calibration_from_json", "fit_calibration", "shares"]

_MOST_SCORES = 1 << 21  # that are fitted on: 16 MB, gone over a few hundred times
_ITERATIONS = 30
_MAX_SLOPE = 30.0  # where the sample is separated perfectly the optimum is at infinity
# What does well on most sets. The squared distance from it counts as much as the loss of one example.
_PRIOR_SLOPE = 2.5
_PRIOR_THRESHOLD = 0.35
# So many examples with a label make its own threshold count as much as that of all labels, and so many in all
# make the latter count as much as the usual one.
_OWN_EXAMPLES = 20.0
_ALL_EXAMPLES = 10.0
_LEAST = 1e-12


@dataclass(frozen=True, slots=True)
class Calibration:
    """How ridge scores become probabilities and decisions.

    Attributes:
        slope: a.
        shifts: e of each label; 0 for one that has come since.
        threshold: Of labels that have come since.
        thresholds: Probability from which on each label is predicted.
        says_one: Whether the most probable label is predicted where none reaches its threshold: so where no
            example of the sample is without labels.
        loss: Mean leave-one-out log-loss in nats, summed over the labels, on the sample it was fitted on.
    """

    slope: float
    shifts: Mapping[str, float]
    threshold: float
    thresholds: Mapping[str, float]
    says_one: bool
    loss: float

    def probabilities(self, scores_BC: FloatArray, labels: Sequence[str], shares_C: FloatArray) -> FloatArray:
        """Probabilities (B, C).

        Args:
            scores_BC: Of the ridge expert.
            labels: Of the columns.
            shares_C: Share of the learned examples that have each, see ``shares``.
        """
        shifts_C = np.array([self.shifts.get(label, 0.0) for label in labels])
        return _sigmoid(self.slope * _standardised(scores_BC, shares_C) + _logit(shares_C) + shifts_C)

    def said(self, probabilities_BC: FloatArray, labels: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Which labels are predicted (B, C)."""
        thresholds_C = np.array([self.thresholds.get(label, self.threshold) for label in labels])
        said_BC = probabilities_BC >= thresholds_C
        if self.says_one and len(labels):
            silent_B = np.flatnonzero(~said_BC.any(axis=1))
            said_BC[silent_B, probabilities_BC[silent_B].argmax(axis=1)] = True
        return said_BC


def calibration_from_json(data: Mapping[str, Json]) -> Calibration:
    """From what ``asdict`` made of it."""
    return Calibration(
        slope=float(data["slope"]),
        shifts={str(name): float(value) for name, value in data["shifts"].items()},
        threshold=float(data["threshold"]),
        thresholds={str(name): float(value) for name, value in data["thresholds"].items()},
        says_one=bool(data["says_one"]),
        loss=float(data["loss"]),
    )


def shares(counts_C: npt.ArrayLike, num_examples: int) -> FloatArray:
    """Share of the examples that have each label (C,), never 0 or 1."""
    return (np.asarray(counts_C, dtype=np.float64) + 0.5) / (num_examples + 1)


def fit_calibration(
    scores_SC: FloatArray,
    targets_SC: FloatArray,
    labels: Sequence[str],
    counts_C: npt.NDArray[np.int64],
    num_examples: int,
) -> Calibration:
    """Fit on leave-one-out scores.

    Args:
        scores_SC: Scores.
        targets_SC: 1 where an example has a label, else 0.
        labels: Of the columns.
        counts_C: Examples of each, of all that were learned.
        num_examples: That were learned.
    """
    shares_C = shares(counts_C, num_examples)
    rows = max(1, _MOST_SCORES // max(1, len(labels)))
    standard_SC, targets_SC = _standardised(scores_SC[:rows], shares_C), targets_SC[:rows]
    # Left out, the only example of a label is always misjudged; it says nothing of the settings.
    telling_SC = 1.0 - targets_SC * (counts_C == 1)
    slope, offsets_C = _fitted(standard_SC, targets_SC, telling_SC, shares_C)
    probabilities_SC = _sigmoid(slope * standard_SC + offsets_C)
    own = np.where(targets_SC > 0, probabilities_SC, 1 - probabilities_SC)
    loss = -(np.log(np.maximum(own, _LEAST)) * telling_SC).sum() / max(1, len(own))
    shifts_C = offsets_C - _logit(shares_C)
    threshold, thresholds_C = _thresholds(probabilities_SC, targets_SC * telling_SC)
    return Calibration(
        slope=slope,
        shifts=dict(zip(labels, shifts_C.tolist(), strict=True)),
        threshold=threshold,
        thresholds=dict(zip(labels, thresholds_C.tolist(), strict=True)),
        says_one=bool((targets_SC.sum(axis=1) > 0).all()),
        loss=float(loss) + (slope - _PRIOR_SLOPE) ** 2 / max(1, len(own)),
    )


def _standardised(scores_BC: FloatArray, shares_C: FloatArray) -> FloatArray:
    return np.asarray((scores_BC - shares_C) / np.sqrt(shares_C * (1 - shares_C)))


def _fitted(
    standard_SC: FloatArray, targets_SC: FloatArray, telling_SC: FloatArray, shares_C: FloatArray
) -> tuple[float, FloatArray]:
    """Slope and offsets (shift and logit of the share): Newton steps, those of the offsets in between."""
    slope, offsets_C = _PRIOR_SLOPE, _logit(shares_C)
    if not standard_SC.size:
        return slope, offsets_C
    for _ in range(_ITERATIONS):
        for _ in range(3):
            probabilities_SC = _sigmoid(slope * standard_SC + offsets_C)
            variances_C = np.maximum((probabilities_SC * (1 - probabilities_SC)).mean(axis=0), 1e-6)
            step_C = (shares_C - probabilities_SC.mean(axis=0)) / variances_C
            offsets_C = offsets_C + np.clip(step_C, -1.0, 1.0)
        probabilities_SC = _sigmoid(slope * standard_SC + offsets_C)
        variances_SC = probabilities_SC * (1 - probabilities_SC)
        # What moving the slope changes, the offsets being moved with it.
        centres_C = (variances_SC * standard_SC).sum(axis=0) / np.maximum(variances_SC.sum(axis=0), 1e-6)
        centred_SC = standard_SC - centres_C
        gradient = float(((probabilities_SC - targets_SC) * centred_SC * telling_SC).sum())
        gradient += 2 * (slope - _PRIOR_SLOPE)
        curvature = float((variances_SC * centred_SC**2 * telling_SC).sum()) + 2
        moved = float(np.clip(slope - np.clip(gradient / curvature, -1.0, 1.0), 0.0, _MAX_SLOPE))
        change, slope = abs(moved - slope), moved
        if change < 1e-5 and np.abs(step_C).max() < 1e-5:
            break
    return slope, offsets_C


def _thresholds(probabilities_SC: FloatArray, targets_SC: FloatArray) -> tuple[float, FloatArray]:
    """The threshold of all labels together, and that of each (C,)."""
    num_C = targets_SC.sum(axis=0)
    of_all = _best_logits(probabilities_SC.reshape(-1, 1), targets_SC.reshape(-1, 1))
    weight = num_C.sum() / (num_C.sum() + _ALL_EXAMPLES)
    shared = weight * (of_all[0] if num_C.sum() else 0.0) + (1 - weight) * _logit(np.array(_PRIOR_THRESHOLD))
    weights_C = num_C / (num_C + _OWN_EXAMPLES)
    logits_C = weights_C * _best_logits(probabilities_SC, targets_SC) + (1 - weights_C) * shared
    return float(_sigmoid(np.asarray(shared))), _sigmoid(logits_C)


def _best_logits(probabilities_SC: FloatArray, targets_SC: FloatArray) -> FloatArray:
    """Logits of the thresholds (C,) of largest F1; midway between the last that are taken and the next."""
    num = len(probabilities_SC)
    if not probabilities_SC.size:
        return np.zeros(probabilities_SC.shape[1])
    order_SC = np.argsort(-probabilities_SC, axis=0, kind="stable")
    logits_SC = _logit(np.take_along_axis(probabilities_SC, order_SC, axis=0))
    hits_SC = np.take_along_axis(targets_SC, order_SC, axis=0).cumsum(axis=0)
    f1_SC = 2 * hits_SC / (np.arange(1, num + 1)[:, None] + targets_SC.sum(axis=0))
    best_C = f1_SC.argmax(axis=0)[None]
    next_C = np.minimum(best_C + 1, num - 1)
    taken, left = (np.take_along_axis(logits_SC, place, axis=0)[0] for place in (best_C, next_C))
    return np.asarray((taken + left) / 2)


def _sigmoid(logits: FloatArray) -> FloatArray:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * logits)))


def _logit(probabilities: FloatArray) -> FloatArray:
    clipped = np.clip(probabilities, _LEAST, 1 - _LEAST)
    return np.asarray(np.log(clipped) - np.log1p(-clipped))
