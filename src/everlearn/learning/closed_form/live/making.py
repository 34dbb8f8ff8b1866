"""Making a live solution: of few examples from their codes, of many from the sums.

Legend: S examples that settings are judged by, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from everlearn.learning.closed_form.config import ClosedFormConfig
from everlearn.learning.closed_form.live.few_examples import FewExamples, Judged
from everlearn.learning.closed_form.live.fresh_bayes import FreshBayes
from everlearn.learning.closed_form.live.fresh_ridge import FreshRidge
from everlearn.learning.closed_form.live.fresh_words import FreshWords
from everlearn.learning.closed_form.live.live_solution import LiveSolution
from everlearn.learning.closed_form.live.ridge_base import PrimalBase
from everlearn.learning.closed_form.naive_bayes import NaiveBayesScorer
from everlearn.learning.closed_form.solution import DueSolve, Learned, Settings, choose
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
    words = few.words(torch.float32)
    if due.keep is not None:
        ridge, settings = few.ridge(products, due.keep.shrinkage), due.keep.for_live()
    else:
        bayes, num_judged = NaiveBayesScorer(sums_CH, config.smoothing), config.sample_size // 4
        others = few.others_left_out(num_judged, bayes, sums_CH, means, words)
        judged = Judged(few, products, others, has_words=words is not None)
        shrinkage = judged.best() if due.near is None else judged.best_near(due.near.shrinkage)
        ridge, mixture = judged.tried(shrinkage)
        threshold = float(np.quantile(few.left_out(num_judged, ridge)[1], config.outlier_quantile))
        settings = Settings(shrinkage.strength, mixture, threshold, shrinkage.sketch_weight)
    return LiveSolution(ridge, FreshBayes(sums_CH, config.smoothing), means, words, settings, labels)


def live_of_sums(learned: Learned, config: ClosedFormConfig, due: DueSolve[Settings]) -> LiveSolution:
    """A live solution from the sums, at full size; see ``solution.choose``."""
    order = list(range(len(learned.labels)))
    ridge, words, settings = choose(learned, order, config, due, config.num_features, is_live=True)
    return LiveSolution(
        FreshRidge(PrimalBase(ridge)),
        FreshBayes(learned.counts.sums(), config.smoothing),
        learned.means,
        None if words is None else FreshWords(words),
        settings.for_live(),
        learned.labels,
    )
