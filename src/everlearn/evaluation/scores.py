"""Classification scores from counts: pure functions, one array in, one number out.

The counts are what a stream can keep in bounded memory; every score here equals the
score computed from all predictions at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from everlearn.types import Prediction

__all__ = [
    "NUM_CALIBRATION_BINS",
    "calibration_bins",
    "expected_calibration_error",
    "label_counts",
    "macro_f1",
    "target_probabilities",
]

NUM_CALIBRATION_BINS = 15
"""Equal-width bins of confidence, as in Guo et al. (2017)."""

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def macro_f1(true_positives: Counts, num_targets: Counts, num_predicted: Counts) -> float | None:
    """Mean F1 over the labels that occur as target or as prediction.

    F1 of a label is ``2 TP / (targets + predicted)``. A label that is only ever predicted, or
    never hit, counts with 0; a label that does not occur at all is left out.

    Args:
        true_positives: Hits of each label (C,).
        num_targets: How often each label was the target (C,).
        num_predicted: How often each label was predicted (C,).

    Returns:
        The mean in 0…1, or None where no label occurs.
    """
    total = num_targets + num_predicted
    occurs = total > 0
    if not occurs.any():
        return None
    return float(np.mean(2.0 * true_positives[occurs] / total[occurs]))


def calibration_bins(confidence: Floats, correct: npt.NDArray[np.bool_]) -> tuple[Counts, Floats, Counts]:
    """Sort predictions into ``NUM_CALIBRATION_BINS`` bins ``((b - 1) / B, b / B]`` of confidence.

    Args:
        confidence: Probability of the predicted label (N,), in 0…1; 0 falls into the first bin.
        correct: Whether each prediction was right (N,).

    Returns:
        For each bin (B,): number of predictions, sum of confidence, number of right predictions.
    """
    edge = np.ceil(confidence * NUM_CALIBRATION_BINS).astype(np.int64) - 1
    bins = np.clip(edge, 0, NUM_CALIBRATION_BINS - 1)
    num = np.bincount(bins, minlength=NUM_CALIBRATION_BINS)
    sums = np.bincount(bins, weights=confidence, minlength=NUM_CALIBRATION_BINS)
    hits = np.bincount(bins[correct], minlength=NUM_CALIBRATION_BINS)
    return num.astype(np.int64), sums.astype(np.float64), hits.astype(np.int64)


def expected_calibration_error(
    num_examples: Counts, confidence_sums: Floats, num_correct: Counts
) -> float | None:
    """Expected calibration error: how far confidence is from accuracy, on average.

    ``ECE = Σ_b (n_b / n) · |accuracy_b - mean confidence_b|``, which is
    ``Σ_b |correct_b - Σ confidence_b| / n``.

    Guo, Pleiss, Sun and Weinberger: On Calibration of Modern Neural Networks, ICML 2017.

    Args:
        num_examples: Predictions in each bin (B,).
        confidence_sums: Sum of their confidence (B,).
        num_correct: Right predictions among them (B,).

    Returns:
        The error in 0…1, or None where there are no predictions.
    """
    total: Any = num_examples.sum()
    if total == 0:
        return None
    return float(np.abs(num_correct - confidence_sums).sum() / total)


def label_counts(target: Counts, predicted: Counts, num_labels: int) -> tuple[Counts, Counts, Counts]:
    """Count hits, targets and predictions of each label.

    Args:
        target: Label numbers (N,).
        predicted: Label numbers (N,); -1 where nothing was predicted.
        num_labels: C.

    Returns:
        Three vectors (C,).
    """
    hits = np.bincount(target[target == predicted], minlength=num_labels)
    num_targets = np.bincount(target, minlength=num_labels)
    num_predicted = np.bincount(predicted[predicted >= 0], minlength=num_labels)
    return hits.astype(np.int64), num_targets.astype(np.int64), num_predicted.astype(np.int64)


def target_probabilities(
    predictions: Sequence[Prediction], targets: Sequence[str]
) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
    """Read what the scores need out of predictions, for all that share their labels at once.

    Args:
        predictions: Predictions (N); those of one call of a learner share ``labels``.
        targets: Their targets (N).

    Returns:
        For each example (N,): confidence, probability of its target (0 where unknown) and whether
        its label was known. Probabilities that are not finite become 0.
    """
    num = len(predictions)
    confidence, probability = np.zeros(num), np.zeros(num)
    known = np.zeros(num, np.bool_)
    start = 0
    while start < num:
        labels = predictions[start].labels
        stop = start + 1
        while stop < num and (predictions[stop].labels is labels or predictions[stop].labels == labels):
            stop += 1
        if len(labels):
            position = {label: i for i, label in enumerate(labels)}
            matrix = np.stack([p.probabilities for p in predictions[start:stop]])
            column = np.array([position.get(t, -1) for t in targets[start:stop]])
            confidence[start:stop] = matrix.max(axis=1)
            known[start:stop] = column >= 0
            probability[start:stop] = matrix[np.arange(stop - start), column]
        start = stop
    probability[~known] = 0.0
    for values in (confidence, probability):
        np.nan_to_num(values, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
        np.clip(values, 0.0, 1.0, out=values)
    return confidence, probability, known
