"""Prequential (test-then-train) scores of predictions that are sets of labels."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from everlearn.errors import ConfigError, StateError
from everlearn.evaluation.scores import macro_f1
from everlearn.label_set import labels_in
from everlearn.types import Json, Prediction

__all__ = ["LabelCounts", "SetScores"]

_VERSION = 1


@dataclass(slots=True)
class LabelCounts:
    """How a label fared.

    Attributes:
        hits: Examples that have it and were predicted to.
        targets: Examples that have it.
        predicted: Examples that were predicted to.
    """

    hits: int = 0
    targets: int = 0
    predicted: int = 0

    @property
    def f1(self) -> float | None:
        """2·hits / (targets + predicted); None where it does not occur."""
        return _f1(self.hits, self.targets, self.predicted)


class SetScores:
    """Scores of predictions that were made before their examples were learned.

    Labels may appear at any time. Memory is bounded by the window and the number of labels. An example
    without target is not scored; a prediction made while nothing was known (``label`` None) says no label,
    and is never a whole set that is right.

    Example:
        >>> scores = SetScores()
        >>> said = Prediction('["joy"]', ("anger", "joy"), np.array([0.4, 0.9]))
        >>> scores.update([said, said], ['["anger","joy"]', '["joy"]'])
        >>> summary = scores.summary()
        >>> summary["micro_f1"], summary["subset_accuracy"]
        (0.8, 0.5)

    Args:
        window: Number of examples that the rolling scores cover.

    Raises:
        ConfigError: ``window`` is below 1.
    """

    def __init__(self, window: int = 1000) -> None:
        if window < 1:
            raise ConfigError(f"window must be at least 1, not {window}")
        self.window = window
        self.num_examples = 0
        self._num_right = 0
        self._labels: dict[str, LabelCounts] = {}
        # Hits, targets, predicted labels, and whether the set is right, of each of the last examples.
        self._recent: deque[tuple[int, int, int, int]] = deque(maxlen=window)

    def update(self, predictions: Sequence[Prediction], targets: Sequence[str | None]) -> None:
        """Score one batch.

        Args:
            predictions: What was predicted before the targets were known (N).
            targets: The targets (N); None where there is none.

        Raises:
            ValueError: The two have different lengths.
        """
        for prediction, target in zip(predictions, targets, strict=True):
            if target is None:
                continue
            has = set(labels_in(target))
            said = set() if prediction.label is None else set(labels_in(prediction.label))
            is_right = prediction.label is not None and has == said
            for label in has:
                self._of(label).targets += 1
            for label in said:
                self._of(label).predicted += 1
            for label in has & said:
                self._of(label).hits += 1
            self.num_examples += 1
            self._num_right += is_right
            self._recent.append((len(has & said), len(has), len(said), int(is_right)))

    def _of(self, label: str) -> LabelCounts:
        return self._labels.setdefault(label, LabelCounts())

    def by_label(self) -> dict[str, LabelCounts]:
        """How each label fared that occurred, by name."""
        return dict(sorted(self._labels.items()))

    def summary(self) -> dict[str, Json]:
        """All scores: fractions in 0…1, None while undefined.

        Returns:
            ``examples``; ``micro_f1`` (over all pairs of an example and a label), ``macro_f1`` (mean over the
            labels that occur), ``subset_accuracy`` (share of examples whose whole set is right) and
            ``labels_per_example`` over all examples; the first and the third also over the last ``window``,
            with the prefix ``rolling_``.
        """
        counts, num = list(self._labels.values()), self.num_examples
        hits, targets, predicted = (
            np.array([getattr(one, name) for one in counts], dtype=np.int64)
            for name in ("hits", "targets", "predicted")
        )
        recent = np.array(self._recent, dtype=np.int64).reshape(-1, 4)
        return {
            "examples": num,
            "micro_f1": _f1(int(hits.sum()), int(targets.sum()), int(predicted.sum())),
            "macro_f1": macro_f1(hits, targets, predicted),
            "subset_accuracy": self._num_right / num if num else None,
            "labels_per_example": int(targets.sum()) / num if num else None,
            "rolling_micro_f1": _f1(*recent[:, :3].sum(axis=0).tolist()),
            "rolling_subset_accuracy": float(recent[:, 3].mean()) if len(recent) else None,
        }

    def state(self) -> dict[str, Json]:
        """Everything needed to go on, as JSON."""
        return {
            "version": _VERSION,
            "window": self.window,
            "num_examples": self.num_examples,
            "num_right": self._num_right,
            "labels": {label: [one.hits, one.targets, one.predicted] for label, one in self._labels.items()},
            "recent": [list(one) for one in self._recent],
        }

    def restore(self, state: Mapping[str, Json]) -> None:
        """Replace everything by a saved state, window included.

        Raises:
            StateError: The state is damaged or of another version.
        """
        try:
            if state["version"] != _VERSION:
                raise StateError(
                    f"scores of sets of labels of format version {state['version']} cannot be read; "
                    f"this program reads version {_VERSION}"
                )
            fresh = SetScores(int(state["window"]))
            fresh.num_examples, fresh._num_right = int(state["num_examples"]), int(state["num_right"])
            fresh._labels = {
                str(label): LabelCounts(*_whole(counts, 3)) for label, counts in state["labels"].items()
            }
            for one in state["recent"]:
                hits, targets, predicted, right = _whole(one, 4)
                fresh._recent.append((hits, targets, predicted, right))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StateError(f"scores of sets of labels are damaged: {error!r}") from error
        self.__dict__.update(fresh.__dict__)


def _whole(values: Iterable[Json], length: int) -> list[int]:
    numbers = [int(value) for value in values]
    if len(numbers) != length:
        raise ValueError(f"{length} numbers expected, found {len(numbers)}")
    return numbers


def _f1(hits: int, targets: int, predicted: int) -> float | None:
    return 2 * hits / (targets + predicted) if targets + predicted else None
