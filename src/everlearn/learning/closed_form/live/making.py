"""Making a live solution: of few examples from their codes, of many from the sums.

Legend: N examples, S of them that settings are judged by, H hash columns, M features, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch

from everlearn.learning.closed_form.config import ClosedFormConfig
from everlearn.learning.closed_form.gram_sums import GramSums
from everlearn.learning.closed_form.live.fresh_bayes import FreshBayes
from everlearn.learning.closed_form.live.fresh_ridge import FreshRidge
from everlearn.learning.closed_form.live.live_solution import LiveSolution
from everlearn.learning.closed_form.live.ridge_base import DualBase, PrimalBase
from everlearn.learning.closed_form.mixture import Mixture, fit_mixture
from everlearn.learning.closed_form.naive_bayes import NaiveBayesScorer
from everlearn.learning.closed_form.solution import START, STRENGTHS, DueSolve, SampleData, Settings, choose
from everlearn.learning.closed_form.statistics.count_sums import CountSums

__all__ = ["FewExamples", "live_of_few", "live_of_sums"]


@dataclass(frozen=True, slots=True, eq=False)
class FewExamples:
    """All examples that were learned, in an order that depends on their set alone.

    Attributes:
        features_NM: int8 features.
        counts_NH: Hashed counts of grams.
        classes_N: Their classes.
    """

    features_NM: torch.Tensor
    counts_NH: sp.csr_matrix
    classes_N: npt.NDArray[np.int64]


def live_of_few(
    few: FewExamples,
    counts: CountSums,
    labels: Sequence[str],
    config: ClosedFormConfig,
    due: DueSolve,
) -> LiveSolution:
    """A live solution from the examples themselves.

    Args:
        few: The examples.
        counts: Sums of their grams.
        labels: Labels in the order of the classes.
        config: Sizes.
        due: How settings are come by.
    """
    classes_N = torch.from_numpy(few.classes_N)
    counts_C = torch.bincount(classes_N, minlength=len(labels))
    keep, near = due.keep, due.near
    base = DualBase(few.features_NM, counts_C, START if keep is None else keep.strength)
    sums_CH = counts.sums()
    if keep is not None:
        ridge, settings = FreshRidge.of_few(base, classes_N), keep
    else:
        num_judged = min(len(classes_N), config.sample_size // 4)
        classes_S = few.classes_N[:num_judged]
        words = NaiveBayesScorer(sums_CH, config.smoothing)
        words_SC = words.scores_without_self(few.counts_NH[:num_judged], classes_S, sums_CH)
        is_telling_S = counts_C.numpy()[classes_S] > 1
        judged = _Judged(base, classes_N, classes_S, words_SC, is_telling_S)
        ridge, settings = judged.best(STRENGTHS.index(START if near is None else near.strength), near is None)
        threshold = float(np.quantile(judged.leverages(ridge), config.outlier_quantile))
        settings = replace(settings, outlier_threshold=threshold)
    return LiveSolution(ridge, FreshBayes(sums_CH, config.smoothing), settings, labels)


class _Judged:
    """Settings tried on few examples, each judged by what is said of it without it."""

    def __init__(
        self,
        base: DualBase,
        classes_N: torch.Tensor,
        classes_S: npt.NDArray[np.int64],
        words_SC: npt.NDArray[np.float64],
        is_telling_S: npt.NDArray[np.bool_],
    ) -> None:
        self._base = base
        self._classes_N = classes_N
        self._classes_S = classes_S
        self._words_SC = words_SC
        self._is_telling_S = is_telling_S
        self._tried: dict[int, tuple[FreshRidge, Mixture]] = {}

    def best(self, at: int, is_far: bool) -> tuple[FreshRidge, Settings]:
        """The best of some λ and its neighbours; ``is_far``: and of theirs, as long as it gets better."""
        while True:
            near = [k for k in (at - 1, at, at + 1) if 0 <= k < len(STRENGTHS)]
            nearest = min(near, key=lambda k: self._try(k)[1].loss)
            if nearest == at or not is_far:
                ridge, mixture = self._try(nearest)
                return ridge, Settings(STRENGTHS[nearest], mixture, float("inf"))
            at = nearest

    def leverages(self, ridge: FreshRidge) -> npt.NDArray[np.float64]:
        """Of each judged example, without it."""
        return np.asarray(self._without_self(ridge)[1].double().cpu().numpy())

    def _try(self, k: int) -> tuple[FreshRidge, Mixture]:
        if k not in self._tried:
            ridge = FreshRidge.of_few(self._base.of_strength(STRENGTHS[k]), self._classes_N)
            scores_SC = self._without_self(ridge)[0].double().cpu().numpy()
            mixture = fit_mixture(scores_SC, self._words_SC, self._classes_S, self._is_telling_S)
            self._tried[k] = ridge, mixture
        return self._tried[k]

    def _without_self(self, ridge: FreshRidge) -> tuple[torch.Tensor, torch.Tensor]:
        members_S = torch.arange(len(self._classes_S))
        return ridge.without_self(members_S, torch.from_numpy(self._classes_S))


def live_of_sums(
    sums: GramSums,
    counts: CountSums,
    labels: Sequence[str],
    sample: Callable[[int], SampleData],
    config: ClosedFormConfig,
    due: DueSolve,
) -> LiveSolution:
    """A live solution from the sums, at full size; see ``solution.choose``."""
    order = list(range(len(labels)))
    ridge, settings = choose(sums, counts, labels, order, sample, config, due, config.num_features)
    fresh = FreshRidge(PrimalBase(ridge))
    return LiveSolution(fresh, FreshBayes(counts.sums(), config.smoothing), settings, labels)
