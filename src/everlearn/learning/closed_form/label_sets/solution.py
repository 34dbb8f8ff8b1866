"""Solving for sets of labels: λ, calibration and outlier threshold are chosen by leave-one-out on the sample.

Everything here is a function of the sums and the sample, hence of the set of examples. The first column of
whatever has classes is that of ``EVERY``.

Legend: B examples, S members of the sample, M features, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch

from everlearn.learning.closed_form.config import ClosedFormConfig
from everlearn.learning.closed_form.gram_sums import GramSums
from everlearn.learning.closed_form.label_sets.calibration import Calibration, fit_calibration, shares
from everlearn.learning.closed_form.label_sets.settings import SetSettings
from everlearn.learning.closed_form.live.few_examples import FewExamples
from everlearn.learning.closed_form.live.fresh_ridge import FreshRidge
from everlearn.learning.closed_form.live.ridge_base import ExactProducts
from everlearn.learning.closed_form.ridge import CentredGram, RidgeSolution
from everlearn.learning.closed_form.shrinkage import Shrinkage, ShrinkageGrid
from everlearn.learning.closed_form.solution import (
    SEARCH_FEATURES,
    SEARCH_MEMBERS,
    DueSolve,
    outlier_threshold,
)
from everlearn.types import FloatArray

__all__ = ["Classes", "SetSolution", "choose_of_few", "choose_of_sums", "set_settings"]

_MANY_EXAMPLES = 4096
_ROWS_AT_ONCE = 512


@dataclass(frozen=True, slots=True, eq=False)
class Classes:
    """The classes of everything that was learned, in the order of the columns.

    Attributes:
        names: ``EVERY``, then the labels.
        counts_C: Examples of each.
        targets_SC: 1 where a member of the sample is of a class, else 0.
    """

    names: Sequence[str]
    counts_C: npt.NDArray[np.int64]
    targets_SC: FloatArray

    def calibration(self, scores_SC: FloatArray) -> Calibration:
        """Fitted on leave-one-out scores of the first members of the sample."""
        labels = slice(1, None)
        return fit_calibration(
            scores_SC[:, labels],
            self.targets_SC[: len(scores_SC), labels],
            self.names[labels],
            self.counts_C[labels],
            int(self.counts_C[0]),
        )


@dataclass(frozen=True, slots=True, eq=False)
class SetSolution:
    """A settled predictor.

    Attributes:
        labels: By name.
        counts_C: Examples of each class.
        ridge: Ridge expert.
        outliers: The one that outliers are told by.
        settings: Chosen settings.
        leverage_features: Leading features that a solution of the sums tells outliers by.
    """

    labels: tuple[str, ...]
    counts_C: npt.NDArray[np.int64]
    ridge: RidgeSolution | FreshRidge
    outliers: RidgeSolution | FreshRidge
    settings: SetSettings
    leverage_features: int

    @property
    def num_bytes(self) -> int:
        """About how much memory it takes."""
        experts = {id(one): one for one in (self.ridge, self.outliers)}
        return sum(one.num_bytes for one in experts.values())

    @classmethod
    def of_sums(
        cls, names: Sequence[str], counts_C: npt.NDArray[np.int64], ridge: RidgeSolution,
        settings: SetSettings, leverage_features: int,
    ) -> SetSolution:  # fmt: skip
        """By a solution of the sums."""
        trimmed = ridge.trimmed(leverage_features)
        return cls(tuple(names[1:]), counts_C, trimmed, trimmed, settings, leverage_features)

    @classmethod
    def of_few(
        cls, names: Sequence[str], counts_C: npt.NDArray[np.int64], ridge: FreshRidge,
        leading: FreshRidge, settings: SetSettings,
    ) -> SetSolution:  # fmt: skip
        """By the examples themselves, and by their leading features."""
        return cls(tuple(names[1:]), counts_C, ridge, leading, settings, 0)

    def assess(self, features_BM: torch.Tensor, counts_BH: sp.csr_matrix) -> tuple[FloatArray, FloatArray]:
        """Probabilities (B, C) of the labels, and outlier scores (B,)."""
        shares_C = shares(self.counts_C[1:], int(self.counts_C[0]))
        probabilities, outliers = [], []
        for start in range(0, len(features_BM), _ROWS_AT_ONCE):
            part = features_BM[start : start + _ROWS_AT_ONCE]
            scores_BC = self._scores(part).double().cpu().numpy()[:, 1:]
            probabilities.append(self.settings.calibration.probabilities(scores_BC, self.labels, shares_C))
            outliers.append(self._leverages(part).double().cpu().numpy())
        return np.concatenate(probabilities), np.concatenate(outliers)

    def _scores(self, features_BM: torch.Tensor) -> torch.Tensor:
        ridge = self.ridge
        if isinstance(ridge, RidgeSolution):
            return ridge.scores(features_BM)
        return ridge.scores(ridge.see(features_BM))

    def _leverages(self, features_BM: torch.Tensor) -> torch.Tensor:
        if isinstance(self.outliers, RidgeSolution):
            return self.outliers.leverages(features_BM, self.leverage_features)
        return self.outliers.leverages(self.outliers.see(features_BM))


def choose_of_sums(
    sums: GramSums,
    order: list[int],
    features_SM: torch.Tensor,
    classes: Classes,
    config: ClosedFormConfig,
    due: DueSolve[SetSettings],
    leverage_features: int,
) -> tuple[RidgeSolution, SetSettings]:
    """Choose settings, and solve by them; the solution has its whole factor.

    Args:
        sums: Of features.
        order: The rows of its class sums in the order of the columns.
        features_SM: Of members of the sample; none are needed where settings are kept.
        classes: Of the same members.
        config: Sizes.
        due: How settings are come by.
        leverage_features: Leading features that outliers are told by.
    """
    gram = CentredGram(sums, config.num_features, order, every=0)
    if due.keep is not None:
        return gram.solve(*due.keep.shrinkage.for_float32(gram.num_examples)), due.keep
    is_small = config.num_features <= SEARCH_FEATURES
    search = gram if is_small else CentredGram(sums, SEARCH_FEATURES, order, every=0)
    grid = ShrinkageGrid.of(gram.num_examples, has_sketch=len(gram.sketched) > 0)
    if due.near is None:
        first = features_SM[:SEARCH_MEMBERS]
        shrinkage = grid.best(lambda one: _calibration(search.solve(*one), first, classes).loss)
    else:
        shrinkage = grid.best_near(
            due.near.shrinkage,
            lambda one: _calibration(search.solve(*one), features_SM, classes).loss,
            may_grow=gram.num_examples < _MANY_EXAMPLES,
        )
    ridge = gram.solve(*shrinkage)
    calibration = _calibration(ridge, features_SM, classes)
    threshold, live_threshold = outlier_threshold(ridge, features_SM, leverage_features, config), None
    if leverage_features < config.num_features:  # it is settled; a live one tells outliers by all features
        few_SM = features_SM[: config.sample_size // 4]
        live_threshold = outlier_threshold(ridge, few_SM, config.num_features, config)
    return ridge, SetSettings(
        shrinkage.strength, calibration, threshold, shrinkage.sketch_weight, live_threshold
    )


def choose_of_few(
    few: FewExamples, products: ExactProducts, classes: Classes, due: DueSolve[SetSettings], *,
    num_judged: int, search: ExactProducts | None = None,
) -> tuple[FreshRidge, Shrinkage, Calibration]:  # fmt: skip
    """Choose λ and calibration on few examples, and solve.

    Args:
        few: The examples.
        products: Of their features.
        classes: Of the examples.
        due: How settings are come by.
        num_judged: Examples that settings are judged by.
        search: Products of leading features, of which λ is chosen; None: of all.
    """
    if due.keep is not None:
        return few.ridge(products, due.keep.shrinkage), due.keep.shrinkage, due.keep.calibration
    grid = ShrinkageGrid.of(len(few), has_sketch=len(few.sketched) > 0)
    num_searched = num_judged if search is None else min(num_judged, SEARCH_MEMBERS)

    def judged(tried: Shrinkage, of: ExactProducts, num: int) -> tuple[FreshRidge, Calibration]:
        ridge = few.ridge(of, tried)
        return ridge, classes.calibration(few.left_out(num, ridge)[0])

    def loss(tried: Shrinkage) -> float:
        return judged(tried, search or products, num_searched)[1].loss

    shrinkage = grid.best(loss) if due.near is None else grid.best_near(due.near.shrinkage, loss)
    ridge, calibration = judged(shrinkage, products, num_judged)
    return ridge, shrinkage, calibration


def _calibration(ridge: RidgeSolution, features_SM: torch.Tensor, classes: Classes) -> Calibration:
    left_in_S = 1 - ridge.leverages(features_SM, ridge.num_features).clamp(max=1 - 1e-6)
    left_in_S1 = left_in_S.double().cpu().numpy()[:, None]
    targets_SC = classes.targets_SC[: len(features_SM)]
    scores_SC = ridge.scores(features_SM).double().cpu().numpy()
    return classes.calibration(targets_SC - (targets_SC - scores_SC) / left_in_S1)


def set_settings(
    shrinkage: Shrinkage,
    calibration: Calibration,
    left_out_S: FloatArray,
    config: ClosedFormConfig,
    live_left_out_S: FloatArray | None = None,
) -> SetSettings:
    """What was chosen, and the outlier threshold by leverages of few examples, each left out.

    Args:
        shrinkage: That was chosen.
        calibration: Likewise.
        left_out_S: Leverages.
        config: Sizes.
        live_left_out_S: Those by all features, of settings of a settled predictor.
    """
    quantile = config.outlier_quantile
    threshold = float(np.quantile(left_out_S, quantile))
    live = None if live_left_out_S is None else float(np.quantile(live_left_out_S, quantile))
    return SetSettings(shrinkage.strength, calibration, threshold, shrinkage.sketch_weight, live)
