"""Is one model worse than another on the same examples? Paired tests with a tolerance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import bdtrc  # scipy.stats, where it is binom.sf, takes a second to import

from everlearn.types import Json

__all__ = ["PairedComparison", "PairedTest", "compare_paired"]

PairedTest = Literal["mcnemar", "bootstrap"]

_RESAMPLES = 2_000
_ROWS_AT_ONCE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedComparison:
    """Two models on the same examples.

    Attributes:
        num_examples: How many.
        live_accuracy: Of the model that serves; None where there are no examples.
        candidate_accuracy: Of the one that is examined.
        lost: Examples that only the former has right.
        won: Examples that only the latter has right.
        p_value: How probable a loss like this is if the candidate is worse by no more than the
            tolerance; 1 where there are no examples.
    """

    num_examples: int
    live_accuracy: float | None
    candidate_accuracy: float | None
    lost: int
    won: int
    p_value: float

    @property
    def drop(self) -> float:
        """By how much accuracy falls; negative where it rises."""
        return (self.lost - self.won) / self.num_examples if self.num_examples else 0.0

    def to_json(self) -> dict[str, Json]:
        """All figures."""
        return {
            "examples": self.num_examples,
            "live_accuracy": self.live_accuracy,
            "candidate_accuracy": self.candidate_accuracy,
            "lost": self.lost,
            "won": self.won,
            "p_value": self.p_value,
        }


def compare_paired(
    live_right: npt.NDArray[np.bool_],
    candidate_right: npt.NDArray[np.bool_],
    *,
    tolerance: float = 0.0,
    test: PairedTest = "mcnemar",
    seed: int = 0,
) -> PairedComparison:
    """Compare two models example by example; one-sided.

    ``mcnemar``: of the examples on which the two differ, how many go against the candidate; the exact
    binomial test (McNemar 1947, exact form), after as many losses as the tolerance allows have been
    forgiven. ``bootstrap``: in what share of resamples the drop is within the tolerance
    (Efron and Tibshirani 1993).

    Args:
        live_right: Which examples the serving model has right (N,).
        candidate_right: Which the candidate has right (N,).
        tolerance: Drop in accuracy, 0…1, that is not held against the candidate.
        test: Which test.
        seed: Of the resampling.

    >>> live, candidate = np.array([True] * 20), np.array([False] * 10 + [True] * 10)
    >>> compare_paired(live, candidate).p_value < 0.001
    True
    """
    num = len(live_right)
    lost = int((live_right & ~candidate_right).sum())
    won = int((~live_right & candidate_right).sum())
    if not num:
        p_value = 1.0
    elif test == "mcnemar":
        counted = max(0, lost - int(np.floor(tolerance * num)))
        p_value = float(bdtrc(counted - 1, counted + won, 0.5)) if counted else 1.0
    else:
        p_value = _share_within(live_right, candidate_right, tolerance, seed)
    return PairedComparison(
        num_examples=num,
        live_accuracy=float(live_right.mean()) if num else None,
        candidate_accuracy=float(candidate_right.mean()) if num else None,
        lost=lost,
        won=won,
        p_value=p_value,
    )


def _share_within(
    live_right: npt.NDArray[np.bool_], candidate_right: npt.NDArray[np.bool_], tolerance: float, seed: int
) -> float:
    drops = live_right.astype(np.float64) - candidate_right
    generator = np.random.default_rng(seed)
    within = 0
    for start in range(0, _RESAMPLES, _ROWS_AT_ONCE):
        rows = min(_ROWS_AT_ONCE, _RESAMPLES - start)
        chosen = generator.integers(len(drops), size=(rows, len(drops)))
        within += int((drops[chosen].mean(axis=1) <= tolerance + 1e-12).sum())
    # The sample itself counts as one resample, so that no p-value is 0.
    return (within + 1) / (_RESAMPLES + 1)
