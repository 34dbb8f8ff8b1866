"""Making a live solution: of few examples from their codes, of many from the sums.

Legend: S examples that settings are judged by, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from everlearn.learning.closed_form.class_means import ClassMeans
from everlearn.learning.closed_form.config import ClosedFormConfig
from everlearn.learning.closed_form.gram_sums import GramSums
from everlearn.learning.closed_form.live.few_examples import FewExamples, Judged
from everlearn.learning.closed_form.live.fresh_bayes import FreshBayes
from everlearn.learning.closed_form.live.fresh_ridge import FreshRidge
from everlearn.learning.closed_form.live.live_solution import LiveSolution
from everlearn.learning.closed_form.live.ridge_base import PrimalBase
from everlearn.learning.closed_form.naive_bayes import NaiveBayesScorer
from everlearn.learning.closed_form.solution import DueSolve, SampleData, Settings, choose
from everlearn.learning.closed_form.statistics.count_sums import CountSums

__all__ = ["live_of_few", "live_of_sums"]


def live_of_few(
    few: FewExamples,
    counts: CountSums,
    labels: Sequence[str],
    config: ClosedFormConfig,
    due: DueSolve[Settings],
) -> LiveSolution:
    """A live solution from the examples themselves.

    Args:
        few: The examples.
        counts: Sums of their grams.
        labels: Labels in the order of the classes.
        config: Sizes.
        due: How settings are come by.
    """
    sums_CH, products, means = counts.sums(), few.products(), few.means()
    if due.keep is not None:
        ridge, settings = few.ridge(products, due.keep.shrinkage), due.keep
    else:
        words = NaiveBayesScorer(sums_CH, config.smoothing)
        words_SC = few.words_left_out(config.sample_size // 4, words, sums_CH)
        judged = Judged(few, products, [words_SC, *few.means_left_out(len(words_SC), means)])
        shrinkage = judged.best() if due.near is None else judged.best_near(due.near.shrinkage)
        ridge, mixture = judged.tried(shrinkage)
        threshold = float(np.quantile(few.left_out(len(words_SC), ridge)[1], config.outlier_quantile))
        settings = Settings(shrinkage.strength, mixture, threshold, shrinkage.sketch_weight)
    return LiveSolution(ridge, FreshBayes(sums_CH, config.smoothing), means, settings, labels)


def live_of_sums(
    sums: GramSums,
    counts: CountSums,
    means: Sequence[ClassMeans],
    labels: Sequence[str],
    sample: Callable[[int], SampleData],
    config: ClosedFormConfig,
    due: DueSolve[Settings],
) -> LiveSolution:
    """A live solution from the sums, at full size; see ``solution.choose``."""
    order = list(range(len(labels)))
    ridge, settings = choose(sums, counts, means, labels, order, sample, config, due, config.num_features)
    fresh = FreshRidge(PrimalBase(ridge))
    return LiveSolution(fresh, FreshBayes(counts.sums(), config.smoothing), means, settings, labels)
