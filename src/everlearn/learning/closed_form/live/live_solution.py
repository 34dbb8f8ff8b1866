"""A predictor that has everything that was learned: what is served while a stream is learned.

Legend: B examples, H hash columns, M features, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

import numpy as np
import scipy.sparse as sp
import torch

from everlearn.learning.closed_form.class_means import ClassMeans
from everlearn.learning.closed_form.live.fresh_bayes import FreshBayes
from everlearn.learning.closed_form.live.fresh_ridge import FreshRidge
from everlearn.learning.closed_form.live.fresh_words import FreshWords, SeenWords
from everlearn.learning.closed_form.live.live_ridge import LiveRidge
from everlearn.learning.closed_form.remade import Spare
from everlearn.learning.closed_form.solution import Settings
from everlearn.learning.closed_form.statistics.members import Members
from everlearn.types import FloatArray

__all__ = ["LiveSolution"]


class LiveSolution(LiveRidge[Settings]):
    """All experts with everything learned so far, and the settings that were chosen last.

    Args:
        ridge: Ridge expert.
        bayes: Naive Bayes expert.
        means: Class-mean experts; they learn from now on.
        words: Word-ridge expert, if there is one.
        settings: Chosen settings.
        labels: Labels in the order of the experts' classes.
    """

    def __init__(
        self,
        ridge: FreshRidge,
        bayes: FreshBayes,
        means: Sequence[ClassMeans],
        words: FreshWords | None,
        settings: Settings,
        labels: Sequence[str],
    ) -> None:
        super().__init__(ridge, settings, labels)
        self._bayes = bayes
        self._means = means
        self._words = words
        self._last_words: Spare[tuple[torch.Tensor, SeenWords]] | None = None

    @property
    def num_bytes(self) -> int:
        """About how much memory it takes."""
        means = sum(one.num_bytes for one in self._means)
        words = 0 if self._words is None else self._words.num_bytes
        return self._ridge.num_bytes + self._bayes.num_bytes + means + words

    def frozen(self) -> Self:
        """As it is now; it stays so while this one learns."""
        copy = super().frozen()
        copy._bayes = self._bayes.frozen()
        copy._means = [one.frozen() for one in self._means]
        copy._words = None if self._words is None else self._words.frozen()
        return copy

    def _probabilities(
        self, features_BM: torch.Tensor, scores_BC: FloatArray, counts_BH: sp.csr_matrix
    ) -> FloatArray:
        bayes_BC = self._bayes.scores(counts_BH)
        others_BC = [one.scores(features_BM) for one in self._means]
        if self._words is not None:
            others_BC.append(self._words.scores(self._see_words(self._words, features_BM, counts_BH)))
        probabilities_BC = self.settings.mixture.probabilities(scores_BC, bayes_BC, *others_BC)
        return np.asarray(probabilities_BC[:, self._order])

    def _see_words(self, words: FreshWords, features_BM: torch.Tensor, counts_BH: sp.csr_matrix) -> SeenWords:
        """As ``_see``: what was seen of the last batch's texts is kept."""
        last = None if self._last_words is None else self._last_words.get()
        if last is not None and last[0] is features_BM:
            return last[1]
        seen = words.see(counts_BH)
        self._last_words = Spare((features_BM, seen), features_BM.nbytes + seen.half_RB.nbytes)
        return seen

    def _added(
        self,
        features_BM: torch.Tensor,
        counts_BH: sp.csr_matrix,
        members: Members,
        num_classes: int,
        sign: Literal[1, -1],
    ) -> None:
        self._bayes.add(counts_BH, members.classes_N, num_classes, sign)
        for one in self._means:
            one.add(features_BM, members, num_classes, sign)
        # What is taken out may not be in the sample that the base was fitted on: the next one is without it.
        if self._words is not None and sign > 0:
            seen = self._see_words(self._words, features_BM, counts_BH)
            self._words.add(seen, members.classes_N, num_classes)
        self._last_words = None
