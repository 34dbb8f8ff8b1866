"""The accuracy matrix of a stream of experiences, and what it says of forgetting and transfer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from everlearn.errors import StateError
from everlearn.types import Json

__all__ = ["AccuracyMatrix"]


class AccuracyMatrix:
    """Accuracy ``R[i, j]`` on the held-out set of experience j, measured after learning experience i.

    The measures below are taken after the last recorded row, k (counted from 1 here, as in the
    papers). Each is None while an entry that it needs is missing.

    Papers:
        D. Lopez-Paz and M. Ranzato: Gradient Episodic Memory for Continual Learning, NeurIPS 2017
        (average accuracy, backward and forward transfer).
        A. Chaudhry, P. Dokania, T. Ajanthan and P. Torr: Riemannian Walk for Incremental Learning:
        Understanding Forgetting and Intransigence, ECCV 2018 (average accuracy after k, forgetting).

    Example:
        >>> matrix = AccuracyMatrix(["first", "second"])
        >>> matrix.record(0, 0, 0.9)
        >>> matrix.record(1, 0, 0.8)
        >>> matrix.record(1, 1, 0.7)
        >>> round(matrix.average_accuracy, 3), round(matrix.forgetting, 3)
        (0.75, 0.1)

    Args:
        experience_names: Name of each experience, in the order of learning.

    Attributes:
        values: float64 (E, E), rows "after learning", columns "tested on"; NaN where not measured.
        baselines: float64 (E,), accuracy on each experience before anything was learned. 0 unless
            recorded: a learner that starts without labels cannot be right.
    """

    def __init__(self, experience_names: Sequence[str]) -> None:
        num = len(experience_names)
        self.experience_names = tuple(experience_names)
        self.values: npt.NDArray[np.float64] = np.full((num, num), np.nan)
        self.baselines: npt.NDArray[np.float64] = np.zeros(num)

    def record(self, after: int, on: int, accuracy: float) -> None:
        """Enter one measurement; a second one at the same place replaces the first.

        Args:
            after: Index (from 0) of the experience learned last.
            on: Index (from 0) of the experience whose held-out set was tested.
            accuracy: Fraction in 0…1.

        Raises:
            ValueError: An index or the accuracy is out of range.
        """
        self._check("after", after, accuracy)
        self._check("on", on, accuracy)
        self.values[after, on] = accuracy

    def record_baseline(self, on: int, accuracy: float) -> None:
        """Enter the accuracy on one experience before anything was learned (for forward transfer).

        Raises:
            ValueError: The index or the accuracy is out of range.
        """
        self._check("on", on, accuracy)
        self.baselines[on] = accuracy

    def _check(self, name: str, index: int, accuracy: float) -> None:
        if not 0 <= index < len(self.experience_names):
            raise ValueError(f"{name} must be 0 to {len(self.experience_names) - 1}, not {index}")
        if not 0.0 <= accuracy <= 1.0:
            raise ValueError(f"accuracy must be between 0 and 1, not {accuracy}")

    @property
    def num_learned(self) -> int:
        """k: number of experiences up to the last recorded row."""
        rows = np.flatnonzero(~np.isnan(self.values).all(axis=1))
        return int(rows[-1]) + 1 if len(rows) else 0

    @property
    def average_accuracy(self) -> float | None:
        """``A_k = 1/k Σ_{j ≤ k} R[k, j]``: accuracy on all experiences learned so far."""
        k = self.num_learned
        return _mean(self.values[k - 1, :k]) if k else None

    @property
    def forgetting(self) -> float | None:
        """``F_k = 1/(k-1) Σ_{j < k} (max_{l < k} R[l, j] - R[k, j])``: what was lost since the best.

        Positive where accuracy fell, negative where later experiences helped. None for k < 2.
        """
        k = self.num_learned
        if k < 2:
            return None
        earlier = self.values[: k - 1, : k - 1]
        if np.isnan(np.diagonal(earlier)).any():
            return None
        return _mean(np.nanmax(earlier, axis=0) - self.values[k - 1, : k - 1])

    @property
    def backward_transfer(self) -> float | None:
        """``BWT = 1/(k-1) Σ_{j < k} (R[k, j] - R[j, j])``: change since each was learned.

        Negative where learning later experiences hurt earlier ones. None for k < 2.
        """
        k = self.num_learned
        if k < 2:
            return None
        return _mean(self.values[k - 1, : k - 1] - np.diagonal(self.values)[: k - 1])

    @property
    def forward_transfer(self) -> float | None:
        """``FWT = 1/(k-1) Σ_{1 < j ≤ k} (R[j-1, j] - b[j])``: head start on what comes next.

        ``b`` are the baselines. None for k < 2, and where experiences were not tested before they
        were learned.
        """
        k = self.num_learned
        if k < 2:
            return None
        return _mean(np.diagonal(self.values, offset=1)[: k - 1] - self.baselines[1:k])

    def to_json(self) -> dict[str, Json]:
        """The matrix as JSON; entries that were not measured are null."""
        return {
            "experiences": list(self.experience_names),
            "values": [[None if np.isnan(v) else float(v) for v in row] for row in self.values],
            "baselines": self.baselines.tolist(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Json]) -> AccuracyMatrix:
        """Read what ``to_json`` wrote.

        Raises:
            StateError: The data are damaged.
        """
        try:
            matrix = cls([str(name) for name in data["experiences"]])
            values = np.array(
                [[np.nan if v is None else float(v) for v in row] for row in data["values"]], np.float64
            ).reshape(matrix.values.shape)
            baselines = np.array(data["baselines"], np.float64).reshape(matrix.baselines.shape)
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"the accuracy matrix is damaged: {error!r}") from error
        matrix.values, matrix.baselines = values, baselines
        return matrix


def _mean(values: npt.NDArray[np.float64]) -> float | None:
    """Mean, or None where an entry is missing."""
    return None if np.isnan(values).any() else float(values.mean())
