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
from everlearn.learning.closed_form.word_ridge import WordRidge
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
        words: Word-ridge expert, if there is one.
        settings: Chosen settings.
    """

    labels: tuple[str, ...]
    ridge: FreshRidge
    leading: FreshRidge
    bayes: NaiveBayesScorer
    means: Sequence[ClassMeans]
    words: WordRidge | None
    settings: Settings

    @property
    def num_bytes(self) -> int:
        """About how much memory it takes."""
        words = 0 if self.words is None else self.words.num_bytes
        means = sum(one.num_bytes for one in self.means)
        return self.ridge.num_bytes + self.leading.num_bytes + self.bayes.num_bytes + means + words

    def assess(self, features_BM: torch.Tensor, counts_BH: sp.csr_matrix) -> tuple[FloatArray, FloatArray]:
        """Probabilities (B, C) and outlier scores (B,)."""
        probabilities, outliers = [], []
        for start in range(0, len(features_BM), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            scores_BC = self.ridge.scores(self.ridge.see(features_BM[part])).cpu().numpy()
            others_BC = [self.bayes.scores(counts_BH[part])]
            others_BC += [one.scores(features_BM[part]) for one in self.means]
            if self.words is not None:
                others_BC.append(self.words.scores(counts_BH[part]))
            probabilities.append(self.settings.mixture.probabilities(scores_BC, *others_BC))
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
    bayes, means, texts = NaiveBayesScorer(sums_CH, config.smoothing), few.means(), few.words(torch.float64)
    words = None if texts is None else texts.settled(few.counts_NH)
    products = few.products()
    leading = few.products(config.leverage_features)
    if keep is not None:
        ridge = few.ridge(products, keep.shrinkage)
        outliers = few.ridge(leading, keep.shrinkage, products.scale)
        return FewSolution(tuple(labels), ridge, outliers, bayes, means, words, keep)
    others = few.others_left_out(len(few), bayes, sums_CH, means, texts)
    is_same = config.leverage_features == SEARCH_FEATURES
    searched = leading if is_same else few.products(SEARCH_FEATURES)
    # With the fewer features that λ is chosen on, words would seem to be worth more.
    without_words = [scores_NC[:SEARCH_MEMBERS] for scores_NC in (others if texts is None else others[:-1])]
    shrinkage = Judged(few, searched, without_words, has_words=False).best()
    ridge, mixture = Judged(few, products, others, has_words=texts is not None).tried(shrinkage)
    outliers = few.ridge(leading, shrinkage, products.scale)
    threshold = float(np.quantile(few.left_out(len(few), outliers)[1], config.outlier_quantile))
    live_left_out = few.left_out(config.sample_size // 4, ridge)[1]
    live_threshold = float(np.quantile(live_left_out, config.outlier_quantile))
    settings = Settings(shrinkage.strength, mixture, threshold, shrinkage.sketch_weight, live_threshold)
    return FewSolution(tuple(labels), ridge, outliers, bayes, means, words, settings)


def score_few(
    few: FewExamples, sums_CH: sp.csr_matrix, ids: Sequence[str], solution: FewSolution
) -> SampleScores:
    """Leave-one-out probabilities of all examples, by settings that were chosen on them."""
    words = few.words(torch.float64)
    others_NC = few.others_left_out(len(few), solution.bayes, sums_CH, solution.means, words)
    ridge_NC = few.left_out(len(few), solution.ridge)[0]
    probabilities_NC = solution.settings.mixture.probabilities(ridge_NC, *others_NC)
    return SampleScores(ids, solution.labels, few.members.classes_N, others_NC[0], probabilities_NC)
