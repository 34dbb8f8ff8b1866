"""From sums and sample to a predictor: choose λ, the mixture and the outlier threshold, and solve.

Everything here is a function of the sums and the sample, hence of the set of examples: classes are
taken in the order of their names, sample members in the order of their hashes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch

from everlearn.learning.closed_form.config import ClosedFormConfig
from everlearn.learning.closed_form.gram_sums import GramSums
from everlearn.learning.closed_form.mixture import Mixture, fit_mixture
from everlearn.learning.closed_form.naive_bayes import CountSums, NaiveBayesScorer
from everlearn.learning.closed_form.ridge import CentredGram, RidgeSolution
from everlearn.types import FloatArray

__all__ = ["SampleData", "Settings", "Solution", "solve"]

_STRENGTHS = (0.01, 0.1, 1.0, 10.0)
_START = _STRENGTHS.index(0.1)
# λ is chosen on this many leading features: in units of the mean squared norm the best value
# hardly depends on their number, and a trial costs an eighth of one at twice the size.
_SEARCH_FEATURES = 2048
_SEARCH_MEMBERS = 512


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
class Settings:
    """What was chosen on the sample.

    Attributes:
        strength: λ in units of the mean squared norm of an example.
        mixture: Weights and calibration.
        outlier_threshold: Leverage above which an input is called an outlier.
    """

    strength: float
    mixture: Mixture
    outlier_threshold: float


@dataclass(frozen=True, slots=True)
class Solution:
    """A predictor for the labels it was solved for.

    Attributes:
        labels: In the order of the columns (by name).
        ridge: Ridge expert.
        bayes: Naive Bayes expert.
        settings: Chosen settings.
        leverage_features: Leading features used for the outlier score.
    """

    labels: tuple[str, ...]
    ridge: RidgeSolution
    bayes: NaiveBayesScorer
    settings: Settings
    leverage_features: int

    def probabilities(self, features_BM: torch.Tensor, counts_BH: sp.csr_matrix) -> FloatArray:
        """Probabilities (B, C)."""
        ridge = self.ridge.scores(features_BM).double().cpu().numpy()
        return self.settings.mixture.probabilities(ridge, self.bayes.scores(counts_BH))

    def outlier_scores(self, features_BM: torch.Tensor) -> FloatArray:
        """Leverage (B,): how far inputs are from everything learned."""
        return np.asarray(self.ridge.leverages(features_BM, self.leverage_features).double().cpu().numpy())


def solve(
    sums: GramSums,
    counts: CountSums,
    classes: Sequence[str],
    sample: Callable[[int], SampleData],
    config: ClosedFormConfig,
    num_features: int,
    choose: Literal["anew", "quickly"] | Settings,
) -> Solution:
    """Solve both experts on the leading ``num_features`` features.

    Args:
        sums: Sums of the ridge expert; row k of its class sums belongs to ``classes[k]``.
        counts: Sums of the naive Bayes expert, rows likewise.
        classes: Labels in the order of the rows.
        sample: Makes the data of the sample's first members, at most so many; called only when
            settings are chosen.
        config: Sizes.
        num_features: m.
        choose: Settings to keep; or "anew": choose them by the whole sample, a function of the set
            of examples; or "quickly": by a quarter of it, within a stream.
    """
    order = sorted(range(len(classes)), key=lambda k: classes[k])
    labels = tuple(classes[k] for k in order)
    bayes = NaiveBayesScorer(counts.sums()[order], config.smoothing)
    gram = CentredGram(sums, num_features, order)
    if isinstance(choose, Settings):
        ridge = gram.solve(choose.strength)
        return Solution(labels, ridge, bayes, choose, config.leverage_features)
    data = sample(config.sample_size if choose == "anew" else config.sample_size // 4)
    class_of = {label: k for k, label in enumerate(labels)}
    classes_S = np.array([class_of[label] for label in data.labels], dtype=np.int64)
    bayes_SC = bayes.scores_without_self(data.counts_SH, classes_S)
    search = gram if num_features <= _SEARCH_FEATURES else CentredGram(sums, _SEARCH_FEATURES, order)
    few = slice(_SEARCH_MEMBERS)
    strength = _best_strength(search, data.features_SM[few], classes_S[few], bayes_SC[few])
    ridge = gram.solve(strength)
    mixture = _mixture(ridge, data.features_SM, classes_S, bayes_SC)
    # The leverage of a member without itself: h / (1 - h).
    leverages = ridge.leverages(data.features_SM, config.leverage_features).double().clamp(max=1 - 1e-6)
    left_out = (leverages / (1 - leverages)).cpu().numpy()
    threshold = float(np.quantile(left_out, config.outlier_quantile)) if len(left_out) else float("inf")
    return Solution(labels, ridge, bayes, Settings(strength, mixture, threshold), config.leverage_features)


def _best_strength(
    gram: CentredGram, features_SM: torch.Tensor, classes_S: npt.NDArray[np.int64], bayes_SC: FloatArray
) -> float:
    """λ of least leave-one-out log-loss on a geometric grid, by descent from its middle."""
    losses: dict[int, float] = {}

    def loss(k: int) -> float:
        if k not in losses:
            losses[k] = _mixture(gram.solve(_STRENGTHS[k]), features_SM, classes_S, bayes_SC).loss
        return losses[k]

    best = _START
    while True:
        near = [k for k in (best - 1, best, best + 1) if 0 <= k < len(_STRENGTHS)]
        nearest = min(near, key=loss)
        if nearest == best:
            return _STRENGTHS[best]
        best = nearest


def _mixture(
    ridge: RidgeSolution, features_SM: torch.Tensor, classes_S: npt.NDArray[np.int64], bayes_SC: FloatArray
) -> Mixture:
    classes = torch.from_numpy(classes_S).to(features_SM.device)
    ridge_SC = ridge.scores_without_self(features_SM, classes).double().cpu().numpy()
    return fit_mixture(ridge_SC, bayes_SC, classes_S)
