"""From sums and sample to a predictor: choose λ, the mixture and the outlier threshold, and solve.

Everything here is a function of the sums and the sample, hence of the set of examples: classes are
taken in the order of their names, sample members in the order of their hashes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch

from everlearn.learning.closed_form.class_means import ClassMeans
from everlearn.learning.closed_form.config import ClosedFormConfig
from everlearn.learning.closed_form.gram_sums import GramSums
from everlearn.learning.closed_form.live.fresh_words import FreshWords
from everlearn.learning.closed_form.mixture import Mixture, fit_mixture
from everlearn.learning.closed_form.naive_bayes import NaiveBayesScorer
from everlearn.learning.closed_form.ridge import CentredGram, RidgeSolution
from everlearn.learning.closed_form.shrinkage import Shrinkage, ShrinkageGrid
from everlearn.learning.closed_form.statistics.count_sums import CountSums
from everlearn.learning.closed_form.word_ridge import WordRidge, WordTexts, fit_many
from everlearn.types import FloatArray, Json

__all__ = [
    "SEARCH_FEATURES",
    "SEARCH_MEMBERS",
    "DueSolve",
    "Learned",
    "SampleData",
    "SampleScores",
    "Settings",
    "Solution",
    "TextData",
    "choose",
    "outlier_threshold",
    "score_sample",
    "settings_from_json",
    "solve",
]

# λ is chosen on this many leading features: in units of the mean squared norm the best value
# hardly depends on their number, and a trial costs an eighth of one at twice the size.
SEARCH_FEATURES = 1024
SEARCH_MEMBERS = 512
_MANY_EXAMPLES = 4096
_SCORES_AT_ONCE = 1 << 21  # 16 MB of each kind of score
# Grams of the texts that word ridge is fitted on, times the classes: a step of the fit takes two
# multiplications for each, and so many numbers are its weights at most.
_MOST_PRODUCTS = 1 << 23
_MOST_PRODUCTS_LIVE = 1 << 21  # every thousand examples or so


@dataclass(frozen=True, slots=True)
class SampleData:
    """The sample in the form that the experts want.

    Attributes:
        features_SM: int8 (S, M).
        counts_SH: int64 CSR (S, H).
        labels: Label of each member.
    """

    features_SM: torch.Tensor
    counts_SH: sp.csr_matrix
    labels: Sequence[str]


@dataclass(frozen=True, slots=True)
class TextData:
    """Texts that word ridge may be fitted on, smallest hashes first: the sample, and more behind it.

    Attributes:
        counts_SH: int64 CSR (S, H).
        labels: Label of each.
    """

    counts_SH: sp.csr_matrix
    labels: Sequence[str]


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """All that solving takes.

    Attributes:
        sums: Sums of the ridge expert; row k of its class sums belongs to ``labels[k]``.
        counts: Sums of the naive Bayes expert, rows likewise.
        means: Class-mean experts, rows likewise.
        labels: Labels in the order of the rows.
        sample: Makes the data of the sample's first members, at most so many; called only when settings are
            chosen.
        texts: Makes those of the first texts, at most so many; None: there is no word ridge.
    """

    sums: GramSums
    counts: CountSums
    means: Sequence[ClassMeans]
    labels: Sequence[str]
    sample: Callable[[int], SampleData]
    texts: Callable[[int], TextData] | None

    def by_name(self) -> list[int]:
        """The rows in the order of the labels' names."""
        return sorted(range(len(self.labels)), key=lambda k: self.labels[k])


@dataclass(frozen=True, slots=True)
class Settings:
    """What was chosen on the sample.

    Attributes:
        strength: λ in units of the mean squared norm of an example.
        mixture: Weights and calibration.
        outlier_threshold: Leverage above which an input is called an outlier.
        sketch_weight: See ``Shrinkage``.
        live_outlier_threshold: The same by all features, by which a live predictor tells outliers that goes
            on with settings of a settled one, which tells them by leading features; None: it is the same.
    """

    strength: float
    mixture: Mixture
    outlier_threshold: float
    sketch_weight: float = 1.0
    live_outlier_threshold: float | None = None

    @property
    def shrinkage(self) -> Shrinkage:
        """Of the ridge expert."""
        return Shrinkage(self.strength, self.sketch_weight)

    def for_live(self) -> Settings:
        """The same for a live predictor."""
        threshold = self.live_outlier_threshold
        return self if threshold is None else replace(self, outlier_threshold=threshold)


S_co = TypeVar("S_co", covariant=True)


@dataclass(frozen=True, slots=True)
class DueSolve(Generic[S_co]):
    """A solve that is due, and how its settings are come by.

    Attributes:
        keep: Settings to keep; nothing is chosen then.
        near: Settings to start from, within a stream: a quarter of the sample and few values of λ are
            looked at. None: the choice is a function of the set of examples alone.
    """

    keep: S_co | None = None
    near: S_co | None = None


@dataclass(frozen=True, slots=True)
class Solution:
    """A predictor for the labels it was solved for.

    Attributes:
        labels: In the order of the columns (by name).
        ridge: Ridge expert.
        bayes: Naive Bayes expert.
        means: Class-mean experts.
        words: Word-ridge expert, if there is one.
        settings: Chosen settings.
        leverage_features: Leading features used for the outlier score.
    """

    labels: tuple[str, ...]
    ridge: RidgeSolution
    bayes: NaiveBayesScorer
    means: Sequence[ClassMeans]
    words: WordRidge | None
    settings: Settings
    leverage_features: int

    def assess(self, features_BM: torch.Tensor, counts_BH: sp.csr_matrix) -> tuple[FloatArray, FloatArray]:
        """Probabilities (B, C) and outlier scores (B,)."""
        return self.probabilities(features_BM, counts_BH), self.outlier_scores(features_BM)

    def probabilities(self, features_BM: torch.Tensor, counts_BH: sp.csr_matrix) -> FloatArray:
        """Probabilities (B, C)."""
        num_rows = max(1, _SCORES_AT_ONCE // max(1, len(self.labels)))
        if len(features_BM) <= num_rows:
            ridge = self.ridge.scores(features_BM).double().cpu().numpy()
            others = [one.scores(features_BM) for one in self.means]
            if self.words is not None:
                others.append(self.words.scores(counts_BH))
            return self.settings.mixture.probabilities(ridge, self.bayes.scores(counts_BH), *others)
        # With thousands of labels a batch's scores, several times over, would be most of the memory of a run.
        found = np.empty((len(features_BM), len(self.labels)))
        for start in range(0, len(found), num_rows):
            part = slice(start, start + num_rows)
            found[part] = self.probabilities(features_BM[part], counts_BH[part])
        return found

    def outlier_scores(self, features_BM: torch.Tensor) -> FloatArray:
        """Leverage (B,): how far inputs are from everything learned."""
        return np.asarray(self.ridge.leverages(features_BM, self.leverage_features).double().cpu().numpy())


@dataclass(frozen=True, slots=True, eq=False)
class SampleScores:
    """What is said of the sample's members, each left out of what says it.

    Attributes:
        ids: Of the members (S).
        labels: In the order of the columns.
        classes_S: The members' own.
        words_SC: Scores of the naive Bayes expert.
        probabilities_SC: Of the mixture.
    """

    ids: Sequence[str]
    labels: Sequence[str]
    classes_S: npt.NDArray[np.int64]
    words_SC: FloatArray
    probabilities_SC: FloatArray

    @property
    def is_right_S(self) -> npt.NDArray[np.bool_]:
        """Which members are predicted right."""
        return np.asarray(self.probabilities_SC.argmax(axis=1) == self.classes_S)

    @property
    def log_losses_S(self) -> FloatArray:
        """Nats of each member."""
        own_S = self.probabilities_SC[np.arange(len(self.classes_S)), self.classes_S]
        return np.asarray(-np.log(np.maximum(own_S, 1e-300)))

    @property
    def log_loss(self) -> float:
        """Mean nats a member."""
        return float(self.log_losses_S.mean())


def solve(learned: Learned, config: ClosedFormConfig) -> Solution:
    """Solve all experts at full size, by settings that depend on the set of examples alone."""
    order = learned.by_name()
    leverage_features = config.leverage_features
    ridge, words, settings = choose(learned, order, config, DueSolve(), leverage_features)
    bayes = NaiveBayesScorer(learned.counts.sums()[order], config.smoothing)
    labels = tuple(learned.labels[k] for k in order)
    means = [one.ordered(order) for one in learned.means]
    return Solution(
        labels, ridge.trimmed(leverage_features), bayes, means, words, settings, leverage_features
    )


def choose(
    learned: Learned,
    order: list[int],
    config: ClosedFormConfig,
    due: DueSolve[Settings],
    leverage_features: int,
    *,
    is_live: bool = False,
) -> tuple[RidgeSolution, WordRidge | None, Settings]:
    """Choose settings, and solve ridge and word ridge by them; the ridge expert has its whole factor.

    Args:
        learned: What there is to solve.
        order: The rows in the order of the solution's columns.
        config: Sizes.
        due: How settings are come by.
        leverage_features: Leading features that outliers are told by.
        is_live: Whether it is solved again soon: fewer texts are looked at for word ridge.
    """
    sums, num_features, near = learned.sums, config.num_features, due.near
    class_of = {learned.labels[k]: place for place, k in enumerate(order)}
    if due.keep is not None:
        words, _ = _fit_words(learned, class_of, 0, config, is_live=is_live)
        gram = CentredGram(sums, num_features, order)
        return gram.solve(*due.keep.shrinkage.for_float32(gram.num_examples)), words, due.keep
    data = learned.sample(config.sample_size if near is None else config.sample_size // 4)
    classes_S = np.array([class_of[label] for label in data.labels], dtype=np.int64)
    others = [
        _bayes_scores_without_self(learned.counts, order, data, classes_S, config.smoothing),
        *_means_scores_without_self(learned.means, order, data, classes_S),
    ]
    words, words_SC = _fit_words(learned, class_of, len(classes_S), config, is_live=is_live)
    if words is not None:
        others.append(words_SC)
    gram = CentredGram(sums, num_features, order)
    # Left out, the only example of a class is always misjudged; it says nothing of the settings.
    counts_C = np.asarray(sums.class_counts_C)[order]
    is_telling = counts_C[classes_S] > 1
    judged = _Judged(data.features_SM, classes_S, others, is_telling, words is not None)
    searched = judged.without_words()
    search = gram if num_features <= SEARCH_FEATURES else CentredGram(sums, SEARCH_FEATURES, order)
    grid = ShrinkageGrid.of(gram.num_examples, has_sketch=len(gram.sketched) > 0)
    if near is None:
        first = searched.first(SEARCH_MEMBERS)
        shrinkage = grid.best(lambda tried: first.mixture(search.solve(*tried)).loss)
    else:
        # With many examples no larger λ is tried: in units of the mean squared norm it falls as data grow.
        shrinkage = grid.best_near(
            near.shrinkage,
            lambda tried: searched.mixture(search.solve(*tried)).loss,
            may_grow=gram.num_examples < _MANY_EXAMPLES,
        )
    ridge = gram.solve(*shrinkage)
    mixture = judged.mixture(ridge)
    threshold = outlier_threshold(ridge, data.features_SM, leverage_features, config)
    live_threshold = None
    if not is_live and leverage_features < num_features:
        few_SM = data.features_SM[: config.sample_size // 4]
        live_threshold = outlier_threshold(ridge, few_SM, num_features, config)
    settings = Settings(shrinkage.strength, mixture, threshold, shrinkage.sketch_weight, live_threshold)
    return ridge, words, settings


def outlier_threshold(
    ridge: RidgeSolution, features_SM: torch.Tensor, num_features: int, config: ClosedFormConfig
) -> float:
    """The leverage by leading features above which an input is called an outlier, from learned examples."""
    leverages = ridge.leverages(features_SM, num_features).double().clamp(max=1 - 1e-6)
    # That of a member without itself: h / (1 - h).
    left_out_S = (leverages / (1 - leverages)).cpu().numpy()
    return float(np.quantile(left_out_S, config.outlier_quantile)) if len(left_out_S) else float("inf")


def _fit_words(
    learned: Learned,
    class_of: Mapping[str, int],
    num_judged: int,
    config: ClosedFormConfig,
    *,
    is_live: bool = False,
) -> tuple[WordRidge | None, FloatArray]:
    """Word ridge, and its scores (J, C) of the first so many texts by weights that did not see them.

    Args:
        learned: What there is to solve.
        class_of: The column of each label.
        num_judged: J; these are the sample's first members.
        config: Sizes.
        is_live: See ``choose``.
    """
    if learned.texts is None:
        return None, np.zeros((0, len(class_of)))
    # So many are solved exactly, as those are of which every example is held.
    num_exact = 2 * config.sample_size
    data = learned.texts(2 * num_exact if is_live else 8 * num_exact)
    classes_S = np.array([class_of[label] for label in data.labels], dtype=np.int64)
    texts = WordTexts(data.counts_SH, classes_S, len(class_of))
    texts = texts.first(_MOST_PRODUCTS_LIVE if is_live else _MOST_PRODUCTS, num_exact)
    if len(texts.classes_S) > num_exact:
        return fit_many(texts, num_judged)
    exact = FreshWords.of_few(texts.counts_SH, texts.classes_S, texts.num_classes, torch.float64)
    return exact.settled(texts.counts_SH), exact.without_self(texts.classes_S[:num_judged])


def settings_from_json(data: Mapping[str, Json]) -> Settings:
    """Settings from what ``asdict`` made of them."""
    return Settings(
        strength=float(data["strength"]),
        mixture=Mixture(**data["mixture"]),
        outlier_threshold=float(data["outlier_threshold"]),
        sketch_weight=float(data.get("sketch_weight", 1.0)),  # there was none before there were sketches
        live_outlier_threshold=data.get("live_outlier_threshold"),
    )


def score_sample(
    learned: Learned, ids: Sequence[str], config: ClosedFormConfig, settings: Settings
) -> SampleScores:
    """Leave-one-out probabilities of the whole sample at full size, by settings that were chosen on it."""
    order, data = learned.by_name(), learned.sample(config.sample_size)
    labels = tuple(learned.labels[k] for k in order)
    class_of = {label: k for k, label in enumerate(labels)}
    classes_S = np.array([class_of[label] for label in data.labels], dtype=np.int64)
    bayes_SC = _bayes_scores_without_self(learned.counts, order, data, classes_S, config.smoothing)
    ridge = CentredGram(learned.sums, config.num_features, order).solve(*settings.shrinkage)
    own = torch.from_numpy(classes_S).to(data.features_SM.device)
    ridge_SC = ridge.scores_without_self(data.features_SM, own).double().cpu().numpy()
    others = _means_scores_without_self(learned.means, order, data, classes_S)
    if learned.texts is not None:
        others.append(_fit_words(learned, class_of, len(classes_S), config)[1])
    probabilities_SC = settings.mixture.probabilities(ridge_SC, bayes_SC, *others)
    return SampleScores(ids, labels, classes_S, bayes_SC, probabilities_SC)


def _means_scores_without_self(
    means: Sequence[ClassMeans], order: list[int], data: SampleData, classes_S: npt.NDArray[np.int64]
) -> list[FloatArray]:
    """Leave-one-out scores (S, C) of each class-mean expert."""
    return [one.ordered(order).scores_without_self(data.features_SM, classes_S) for one in means]


def _bayes_scores_without_self(
    counts: CountSums,
    order: list[int],
    data: SampleData,
    classes_S: npt.NDArray[np.int64],
    smoothing: float,
) -> FloatArray:
    """Leave-one-out scores (S, C) by a scorer that is not kept: it grows with the words seen, and its room
    is needed for the ridge solve. Making it again afterwards takes a few milliseconds.
    """
    ordered_sums = counts.sums()[order]
    bayes = NaiveBayesScorer(ordered_sums, smoothing)
    return bayes.scores_without_self(data.counts_SH, classes_S, ordered_sums)


@dataclass(frozen=True, slots=True)
class _Judged:
    """Sample members by which settings are judged, with their leave-one-out scores of the other experts."""

    features_SM: torch.Tensor
    classes_S: npt.NDArray[np.int64]
    others: Sequence[FloatArray]
    is_telling_S: npt.NDArray[np.bool_]
    has_words: bool

    def first(self, num: int) -> _Judged:
        """The first members only."""
        others = [scores_SC[:num] for scores_SC in self.others]
        is_telling_S = self.is_telling_S[:num]
        return _Judged(self.features_SM[:num], self.classes_S[:num], others, is_telling_S, self.has_words)

    def without_words(self) -> _Judged:
        """For the choice of λ: with the fewer features that it is made on, words would seem worth more."""
        others = self.others[:-1] if self.has_words else self.others
        return _Judged(self.features_SM, self.classes_S, others, self.is_telling_S, has_words=False)

    def mixture(self, ridge: RidgeSolution) -> Mixture:
        """The mixture fitted on leave-one-out scores."""
        classes = torch.from_numpy(self.classes_S).to(self.features_SM.device)
        ridge_SC = ridge.scores_without_self(self.features_SM, classes).cpu().numpy()
        experts = [ridge_SC, *self.others]
        return fit_mixture(experts, self.classes_S, self.is_telling_S, has_words=self.has_words)
