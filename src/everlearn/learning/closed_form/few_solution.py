"""The settled predictor of few examples: what ``solution.solve`` comes to, from the examples instead of sums.

It has the same settings, by the same search on the same leading features and members of the sample, and says
the same, to rounding; but no matrix is larger than the number of examples.

Legend: B examples to be predicted, N examples, M features, m leading ones, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch

from everlearn.learning.closed_form.class_means import ClassMeans
from everlearn.learning.closed_form.config import ClosedFormConfig
from everlearn.learning.closed_form.live.few_examples import FewExamples, Judged
from everlearn.learning.closed_form.live.fresh_ridge import FreshRidge
from everlearn.learning.closed_form.naive_bayes import NaiveBayesScorer
from everlearn.learning.closed_form.solution import (
    SEARCH_FEATURES,
    SEARCH_MEMBERS,
    SampleScores,
    Settings,
)
from everlearn.types import FloatArray

__all__ = ["FewSolution", "score_few", "solve_few"]

_ROWS_AT_ONCE = 512


@dataclass(frozen=True, slots=True, eq=False)
class FewSolution:
    """A predictor for the labels it was solved for.

    Attributes:
        labels: By name.
        ridge: Ridge expert.
        leading: The same of the leading features, which outliers are told by.
        bayes: Naive Bayes expert.
        means: Class-mean experts.
        settings: Chosen settings.
    """

    labels: tuple[str, ...]
    ridge: FreshRidge
    leading: FreshRidge
    bayes: NaiveBayesScorer
    means: Sequence[ClassMeans]
    settings: Settings

    @property
    def num_bytes(self) -> int:
        """About how much memory it takes."""
        means = sum(one.num_bytes for one in self.means)
        return self.ridge.num_bytes + self.leading.num_bytes + self.bayes.num_bytes + means

    def assess(self, features_BM: torch.Tensor, counts_BH: sp.csr_matrix) -> tuple[FloatArray, FloatArray]:
        """Probabilities (B, C) and outlier scores (B,)."""
        probabilities, outliers = [], []
        for start in range(0, len(features_BM), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            scores_BC = self.ridge.scores(self.ridge.see(features_BM[part])).cpu().numpy()
            words_BC = self.bayes.scores(counts_BH[part])
            means_BC = [one.scores(features_BM[part]) for one in self.means]
            probabilities.append(self.settings.mixture.probabilities(scores_BC, words_BC, *means_BC))
            outliers.append(self.leading.leverages(self.leading.see(features_BM[part])).cpu().numpy())
        return np.concatenate(probabilities), np.concatenate(outliers)


def solve_few(
    few: FewExamples,
    sums_CH: sp.csr_matrix,
    labels: Sequence[str],
    config: ClosedFormConfig,
    keep: Settings | None = None,
) -> FewSolution:
    """Solve all experts, by settings that depend on the set of examples alone.

    Args:
        few: All examples, at most as many as the sample uses, in its order.
        sums_CH: Sums of their grams.
        labels: By name, as the classes are numbered.
        config: Sizes.
        keep: Settings that this chose before.
    """
    words, means = NaiveBayesScorer(sums_CH, config.smoothing), few.means()
    products = few.products()
    leading = few.products(config.leverage_features)
    if keep is not None:
        ridge = few.ridge(products, keep.shrinkage)
        outliers = few.ridge(leading, keep.shrinkage, products.scale)
        return FewSolution(tuple(labels), ridge, outliers, words, means, keep)
    others = [few.words_left_out(len(few), words, sums_CH), *few.means_left_out(len(few), means)]
    is_same = config.leverage_features == SEARCH_FEATURES
    searched = leading if is_same else few.products(SEARCH_FEATURES)
    shrinkage = Judged(few, searched, [scores_NC[:SEARCH_MEMBERS] for scores_NC in others]).best()
    ridge, mixture = Judged(few, products, others).tried(shrinkage)
    outliers = few.ridge(leading, shrinkage, products.scale)
    threshold = float(np.quantile(few.left_out(len(few), outliers)[1], config.outlier_quantile))
    settings = Settings(shrinkage.strength, mixture, threshold, shrinkage.sketch_weight)
    return FewSolution(tuple(labels), ridge, outliers, words, means, settings)


def score_few(
    few: FewExamples, sums_CH: sp.csr_matrix, ids: Sequence[str], solution: FewSolution
) -> SampleScores:
    """Leave-one-out probabilities of all examples, by settings that were chosen on them."""
    words_NC = few.words_left_out(len(few), solution.bayes, sums_CH)
    ridge_NC = few.left_out(len(few), solution.ridge)[0]
    means_NC = few.means_left_out(len(few), solution.means)
    probabilities_NC = solution.settings.mixture.probabilities(ridge_NC, words_NC, *means_NC)
    return SampleScores(ids, solution.labels, few.members.classes_N, words_NC, probabilities_NC)
