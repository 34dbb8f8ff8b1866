"""Few examples, all of which are at hand: what is tried on them is judged by what it says of each without it.

Legend: N examples, S of them that settings are judged by, H hash columns, M features, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import scipy.sparse as sp
import torch

from everlearn.learning.closed_form.class_means import ClassMeans
from everlearn.learning.closed_form.live.fresh_ridge import FreshRidge
from everlearn.learning.closed_form.live.fresh_words import FreshWords
from everlearn.learning.closed_form.live.ridge_base import DualBase, ExactProducts
from everlearn.learning.closed_form.mixture import Mixture, fit_mixture
from everlearn.learning.closed_form.naive_bayes import NaiveBayesScorer
from everlearn.learning.closed_form.remade import Kept, Remade
from everlearn.learning.closed_form.shrinkage import Shrinkage, ShrinkageGrid
from everlearn.learning.closed_form.statistics.members import Members
from everlearn.types import FloatArray

__all__ = ["FeatureRows", "FewExamples", "Judged"]


@dataclass(frozen=True, slots=True)
class FeatureRows:
    """Gives features of examples, or the leading ones of them.

    Attributes:
        features: All of them, int8 (N, M).
        num_features: How many; None: all.
    """

    features: Remade[torch.Tensor] | Kept[torch.Tensor]
    num_features: int | None = None

    def __call__(self) -> torch.Tensor:
        """int8 (N, m)."""
        features_NM = self.features.get()
        return features_NM if self.num_features is None else features_NM[:, : self.num_features]


@dataclass(frozen=True, slots=True, eq=False)
class FewExamples:
    """All examples that were learned, in an order that depends on their set alone.

    Attributes:
        features: int8 (N, M); made again from the codes where they were let go.
        counts_NH: Hashed counts of grams.
        members: Their classes.
        num_classes: C.
        sketched: Which features are the sketch's, ascending.
        views: Which features each class-mean expert looks at.
        has_words: Whether there is a word-ridge expert.
    """

    features: Remade[torch.Tensor]
    counts_NH: sp.csr_matrix
    members: Members
    num_classes: int
    sketched: torch.Tensor
    views: Sequence[torch.Tensor] = ()
    has_words: bool = False

    def __len__(self) -> int:
        return int(self.counts_NH.shape[0])

    @property
    def counts_C(self) -> torch.Tensor:
        """Examples of each class."""
        return torch.bincount(torch.from_numpy(self.members.classes_N), minlength=self.num_classes)

    def products(self, num_features: int | None = None) -> ExactProducts:
        """Products of the features, or of the leading ones."""
        rows = FeatureRows(self.features, num_features)
        if num_features is None:
            return ExactProducts(rows, self.sketched)
        return ExactProducts(rows, self.sketched[self.sketched < num_features])

    def ridge(self, products: ExactProducts, shrinkage: Shrinkage, scale: float | None = None) -> FreshRidge:
        """The ridge expert.

        Args:
            products: Of the examples' features, or of the leading ones.
            shrinkage: λ in units of ``scale``, and the sketch's weight; see ``DualBase``.
            scale: Default: that of the products.
        """
        base = DualBase(products, self.counts_C, shrinkage, scale)
        return FreshRidge.of_few(base, products, *self.members.tensors())

    def left_out(self, num: int, ridge: FreshRidge) -> tuple[FloatArray, FloatArray]:
        """Leave-one-out scores (S, C) and leverages (S,) of the first so many, by a ridge expert of all."""
        num = min(num, len(self))
        scores_SC, leverages_S = ridge.without_self(torch.arange(num), *self.members.part(0, num).tensors())
        return scores_SC.double().cpu().numpy(), leverages_S.double().cpu().numpy()

    def means(self) -> list[ClassMeans]:
        """The class-mean experts of all."""
        features_NM = self.features.get()
        return [
            ClassMeans.of_examples(view, features_NM, self.members, self.num_classes) for view in self.views
        ]

    def means_left_out(self, num: int, means: Sequence[ClassMeans]) -> list[FloatArray]:
        """Leave-one-out scores (S, C) of the first so many by class-mean experts."""
        features_SM, classes_S = self.features.get()[:num], self.members.classes_N[:num]
        return [one.scores_without_self(features_SM, classes_S) for one in means]

    def bayes_left_out(self, num: int, bayes: NaiveBayesScorer, sums_CH: sp.csr_matrix) -> FloatArray:
        """Leave-one-out scores (S, C) of the first so many by the naive Bayes expert of these sums."""
        return bayes.scores_without_self(self.counts_NH[:num], self.members.classes_N[:num], sums_CH)

    def words(self, dtype: torch.dtype) -> FreshWords | None:
        """The word-ridge expert of all, if there is one."""
        if not self.has_words:
            return None
        return FreshWords.of_few(self.counts_NH, self.members.classes_N, self.num_classes, dtype)

    def others_left_out(
        self,
        num: int,
        bayes: NaiveBayesScorer,
        sums_CH: sp.csr_matrix,
        means: Sequence[ClassMeans],
        words: FreshWords | None,
    ) -> list[FloatArray]:
        """Leave-one-out scores (S, C) of the first so many by all experts but the ridge."""
        num = min(num, len(self))
        found = [self.bayes_left_out(num, bayes, sums_CH), *self.means_left_out(num, means)]
        if words is not None:
            found.append(words.without_self(self.members.classes_N[:num]))
        return found


class Judged:
    """Settings tried on few examples.

    Args:
        few: The examples.
        products: Of their features, or of the leading ones.
        others: Leave-one-out scores (S, C) of the other experts; the first S examples are judged.
        has_words: Whether the last of them is the word ridge.
    """

    def __init__(
        self, few: FewExamples, products: ExactProducts, others: Sequence[FloatArray], *, has_words: bool
    ) -> None:
        self._few = few
        self._products = products
        self._others = others
        self._has_words = has_words
        self._classes_S = few.members.classes_N[: len(others[0])]
        self._tried: dict[Shrinkage, tuple[FreshRidge, Mixture]] = {}
        self._grid = ShrinkageGrid.of(len(few), has_sketch=len(few.sketched) > 0)

    def best(self) -> Shrinkage:
        """The best shrinkage, by descent from a fixed start."""
        return self._grid.best(self._loss)

    def best_near(self, shrinkage: Shrinkage) -> Shrinkage:
        """The best of one and its neighbours."""
        return self._grid.best_near(shrinkage, self._loss)

    def _loss(self, shrinkage: Shrinkage) -> float:
        return self.tried(shrinkage)[1].loss

    def tried(self, shrinkage: Shrinkage) -> tuple[FreshRidge, Mixture]:
        """The ridge expert with some shrinkage, and the mixture that is best with it."""
        if shrinkage not in self._tried:
            ridge = self._few.ridge(self._products, shrinkage)
            scores_SC = self._few.left_out(len(self._classes_S), ridge)[0]
            # The only example of a class, left out, is always misjudged; it says nothing of the settings.
            is_telling_S = self._few.counts_C.numpy()[self._classes_S] > 1
            experts = [scores_SC, *self._others]
            mixture = fit_mixture(experts, self._classes_S, is_telling_S, has_words=self._has_words)
            self._tried[shrinkage] = ridge, mixture
        return self._tried[shrinkage]
