"""Prequential (test-then-train) scores over a stream, cumulative and over the last examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from everlearn.errors import ConfigError, StateError
from everlearn.evaluation.confusion import Confusion
from everlearn.evaluation.scores import (
    NUM_CALIBRATION_BINS,
    calibration_bins,
    expected_calibration_error,
    label_counts,
    macro_f1,
    target_probabilities,
)
from everlearn.types import Json, Prediction

__all__ = ["PrequentialScores"]

STATE_VERSION = 1

# Different errors that are counted; of more, those that came often enough to be shown.
_MAX_ERRORS = 100_000
_KEPT_ERRORS = _MAX_ERRORS // 2

_RECENT = np.dtype(
    [("target", "i8"), ("predicted", "i8"), ("confidence", "f8"), ("loss", "f8"), ("known", "?")]
)


class PrequentialScores:
    """Scores of predictions that were made before their examples were learned.

    Labels may appear at any time. Cumulative scores equal those computed from all predictions at
    once; rolling ones those of the last ``window`` examples with a target. Memory is bounded by
    the window, the number of labels and a hundred thousand different errors: of more, the rarest are
    left out of the confusion. No score depends on it.

    How the corners count:

    * An example without target is not scored.
    * A prediction made while no label was known (``label`` None) is wrong, with confidence 0.
    * A label that was not known when it was to be predicted had probability 0. Probabilities are
      raised to ``min_probability`` before the logarithm, so such an example adds
      ``-ln(min_probability)`` nats to ``log_loss`` (27.6 with the default). ``log_loss_known``
      leaves these examples out, and ``new_label_share`` says how many they are.
    * Probabilities that are not finite count as 0.

    A. P. Dawid: Statistical Theory: The Prequential Approach, JRSS A 147, 1984.
    J. Gama, R. Sebastião and P. P. Rodrigues: On Evaluating Stream Learning Algorithms,
    Machine Learning 90, 2013.

    Example:
        >>> import numpy as np
        >>> from everlearn.types import Prediction
        >>> scores = PrequentialScores(window=100)
        >>> yes = Prediction("yes", ("yes", "no"), np.array([0.8, 0.2]))
        >>> scores.update([yes, yes], ["yes", "no"])
        >>> scores.summary()["accuracy"]
        0.5

    Args:
        window: Number of examples that the rolling scores cover.
        min_probability: Floor of a probability before its logarithm is taken.

    Raises:
        ConfigError: ``window`` is below 1, or ``min_probability`` is not in (0, 1).
    """

    def __init__(self, window: int = 1000, *, min_probability: float = 1e-12) -> None:
        if window < 1:
            raise ConfigError(f"window must be at least 1, not {window}")
        if not 0.0 < min_probability < 1.0:
            raise ConfigError(f"min_probability must be between 0 and 1, not {min_probability}")
        self.window = window
        self.min_probability = min_probability
        self._clear()

    def _clear(self) -> None:
        self._labels: dict[str, int] = {}
        self._hits = np.zeros(0, np.int64)
        self._num_targets = np.zeros(0, np.int64)
        self._num_predicted = np.zeros(0, np.int64)
        # Sparse, because a dense matrix of 10,000 labels would take 800 MB.
        self._pairs: dict[tuple[int, int], int] = {}
        self._bins = np.zeros(NUM_CALIBRATION_BINS, np.int64)
        self._bin_confidence = np.zeros(NUM_CALIBRATION_BINS)
        self._bin_hits = np.zeros(NUM_CALIBRATION_BINS, np.int64)
        self._num_examples = 0
        self._num_known = 0
        self._loss = 0.0
        self._loss_known = 0.0
        self._recent = np.zeros(self.window, _RECENT)

    @property
    def num_examples(self) -> int:
        """Examples with a target scored so far."""
        return self._num_examples

    def update(self, predictions: Sequence[Prediction], targets: Sequence[str | None]) -> None:
        """Score one batch.

        Args:
            predictions: What was predicted before the targets were known (N).
            targets: The targets (N); None where there is none.

        Raises:
            ValueError: The two have different lengths.
        """
        scored = [(p, t) for p, t in zip(predictions, targets, strict=True) if t is not None]
        if not scored:
            return
        confidence, probability, known = target_probabilities([p for p, _ in scored], [t for _, t in scored])
        batch = np.zeros(len(scored), _RECENT)
        batch["target"] = [self._index(t) for _, t in scored]
        batch["predicted"] = [-1 if p.label is None else self._index(p.label) for p, _ in scored]
        batch["confidence"] = confidence
        batch["loss"] = -np.log(np.maximum(probability, self.min_probability))
        batch["known"] = known
        self._add(batch)

    def _index(self, label: str) -> int:
        return self._labels.setdefault(label, len(self._labels))

    def _add(self, batch: npt.NDArray[np.void]) -> None:
        hit = batch["target"] == batch["predicted"]
        hits, num_targets, num_predicted = label_counts(
            batch["target"], batch["predicted"], len(self._labels)
        )
        self._hits = _grown(self._hits, hits)
        self._num_targets = _grown(self._num_targets, num_targets)
        self._num_predicted = _grown(self._num_predicted, num_predicted)
        predicted = batch[batch["predicted"] >= 0]
        for pair in zip(predicted["target"].tolist(), predicted["predicted"].tolist(), strict=True):
            self._pairs[pair] = self._pairs.get(pair, 0) + 1
        if len(self._pairs) > _MAX_ERRORS + len(self._labels):
            self._drop_rare_errors()
        num, confidence_sums, num_correct = calibration_bins(batch["confidence"], hit)
        self._bins += num
        self._bin_confidence += confidence_sums
        self._bin_hits += num_correct
        self._num_known += int(batch["known"].sum())
        self._loss += float(batch["loss"].sum())
        self._loss_known += float(batch["loss"][batch["known"]].sum())
        kept = batch[-self.window :]
        first = self._num_examples + len(batch) - len(kept)
        self._recent[np.arange(first, first + len(kept)) % self.window] = kept
        self._num_examples += len(batch)

    def _drop_rare_errors(self) -> None:
        errors = [(count, pair) for pair, count in self._pairs.items() if pair[0] != pair[1]]
        errors.sort(key=lambda error: -error[0])
        dropped = {pair for _, pair in errors[_KEPT_ERRORS:]}
        self._pairs = {pair: count for pair, count in self._pairs.items() if pair not in dropped}

    def summary(self) -> dict[str, Json]:
        """All scores: fractions in 0…1, log-loss in nats, None while undefined.

        Returns:
            ``examples, accuracy, macro_f1, log_loss, log_loss_known, calibration_error,
            new_label_share`` over all examples and the same, but ``examples``, with the prefix
            ``rolling_`` over the last ``window``. ``unlearned`` examples were predicted while no label was
            known; ``accuracy_once_learning`` leaves them out.
        """
        n, with_label = self._num_examples, int(self._num_predicted.sum())
        cumulative: dict[str, Json] = {
            "examples": n,
            "accuracy": int(self._hits.sum()) / n if n else None,
            "accuracy_once_learning": int(self._hits.sum()) / with_label if with_label else None,
            "unlearned": n - with_label,
            "macro_f1": macro_f1(self._hits, self._num_targets, self._num_predicted),
            "log_loss": self._loss / n if n else None,
            "log_loss_known": self._loss_known / self._num_known if self._num_known else None,
            "calibration_error": expected_calibration_error(self._bins, self._bin_confidence, self._bin_hits),
            "new_label_share": 1.0 - self._num_known / n if n else None,
        }
        return cumulative | self._rolling()

    def _rolling(self) -> dict[str, Json]:
        recent = self._recent[: min(self._num_examples, self.window)]
        some = len(recent) > 0
        hit = recent["target"] == recent["predicted"]
        known = recent["known"]
        return {
            "rolling_accuracy": float(hit.mean()) if some else None,
            "rolling_macro_f1": macro_f1(
                *label_counts(recent["target"], recent["predicted"], len(self._labels))
            ),
            "rolling_log_loss": float(recent["loss"].mean()) if some else None,
            "rolling_log_loss_known": float(recent["loss"][known].mean()) if known.any() else None,
            "rolling_calibration_error": expected_calibration_error(
                *calibration_bins(recent["confidence"], hit)
            ),
            "rolling_new_label_share": float(1.0 - known.mean()) if some else None,
        }

    def confusion(self) -> Confusion:
        """How often which label was taken for which; labels that occurred, in name order.

        Predictions made while no label was known are not in it.
        """
        labels = sorted(self._labels)
        place = np.zeros(len(labels), np.int64)
        place[[self._labels[label] for label in labels]] = np.arange(len(labels))
        pairs = np.array(list(self._pairs), np.int64).reshape(-1, 2)
        counts = np.fromiter(self._pairs.values(), np.int64, len(self._pairs))
        return Confusion.of(labels, place[pairs[:, 0]], place[pairs[:, 1]], counts)

    def state(self) -> dict[str, Json]:
        """Everything needed to go on, as JSON."""
        recent = self._recent
        if self._num_examples >= self.window:
            recent = np.roll(recent, -(self._num_examples % self.window))
        recent = recent[: min(self._num_examples, self.window)]
        return {
            "version": STATE_VERSION,
            "window": self.window,
            "min_probability": self.min_probability,
            "labels": list(self._labels),
            "num_targets": self._num_targets.tolist(),
            "num_predicted": self._num_predicted.tolist(),
            "pairs": [[t, p, count] for (t, p), count in self._pairs.items()],
            "bins": self._bins.tolist(),
            "bin_confidence": self._bin_confidence.tolist(),
            "bin_hits": self._bin_hits.tolist(),
            "num_examples": self._num_examples,
            "num_known": self._num_known,
            "loss": self._loss,
            "loss_known": self._loss_known,
            "recent": {name: recent[name].tolist() for name in _RECENT.names or ()},
        }

    def restore(self, state: Mapping[str, Json]) -> None:
        """Replace everything by a saved state, window and floor included.

        Raises:
            StateError: The state is damaged or of another version.
        """
        fresh = PrequentialScores(self.window)
        try:
            if state["version"] != STATE_VERSION:
                raise StateError(
                    f"prequential scores of format version {state['version']} cannot be read; "
                    f"this program reads version {STATE_VERSION}"
                )
            fresh._load(state)
        except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
            raise StateError(f"prequential scores are damaged: {error!r}") from error
        self.__dict__.update(fresh.__dict__)

    def _load(self, state: Mapping[str, Json]) -> None:
        self.window = int(state["window"])
        self.min_probability = float(state["min_probability"])
        self._clear()
        self._labels = {label: i for i, label in enumerate(state["labels"])}
        num_labels = len(self._labels)
        self._num_targets = _vector(state["num_targets"], num_labels, np.int64)
        self._num_predicted = _vector(state["num_predicted"], num_labels, np.int64)
        self._hits = np.zeros(num_labels, np.int64)
        for target, predicted, count in state["pairs"]:
            self._pairs[(target, predicted)] = count
            if target == predicted:
                self._hits[target] = count
        self._bins = _vector(state["bins"], NUM_CALIBRATION_BINS, np.int64)
        self._bin_confidence = _vector(state["bin_confidence"], NUM_CALIBRATION_BINS, np.float64)
        self._bin_hits = _vector(state["bin_hits"], NUM_CALIBRATION_BINS, np.int64)
        self._num_examples = int(state["num_examples"])
        self._num_known = int(state["num_known"])
        self._loss = float(state["loss"])
        self._loss_known = float(state["loss_known"])
        count = min(self._num_examples, self.window)
        first = self._num_examples - count
        for name in _RECENT.names or ():
            values = _vector(state["recent"][name], count, _RECENT[name])
            self._recent[name][np.arange(first, self._num_examples) % self.window] = values


def _grown(total: npt.NDArray[np.int64], added: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Sum of two count vectors, the first of which may be shorter."""
    result = added.copy()
    result[: len(total)] += total
    return result


def _vector(values: Json, length: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    array = np.array(values, dtype=dtype)
    if array.shape != (length,):
        raise ValueError(f"{length} numbers expected, found shape {array.shape}")
    return array
