"""From what was learned of sets of labels to what predictions are made by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from everlearn.label_set import labels_in
from everlearn.learning.closed_form.gram_sums import GramSums
from everlearn.learning.closed_form.label_sets.live import LiveSets
from everlearn.learning.closed_form.label_sets.settings import SetSettings
from everlearn.learning.closed_form.label_sets.solution import (
    Classes,
    SetSolution,
    choose_of_few,
    choose_of_sums,
    set_settings,
)
from everlearn.learning.closed_form.live.added_rows import AddedRows
from everlearn.learning.closed_form.live.few_examples import FewExamples
from everlearn.learning.closed_form.live.fresh_ridge import FreshRidge
from everlearn.learning.closed_form.live.ridge_base import PrimalBase
from everlearn.learning.closed_form.solution import SEARCH_FEATURES, DueSolve
from everlearn.learning.closed_form.solver import Solver
from everlearn.memory.hash_sample import Sampled

__all__ = ["SetSolver"]


class SetSolver(Solver):
    """Solves what was learned of sets of labels."""

    @property
    def is_remade(self) -> bool:
        """See Solver: settings are all that is kept of a solution."""
        return True

    def settled_again(self, keep: Any = None) -> SetSolution:
        """See Solver."""
        known = self._statistics
        due: DueSolve[SetSettings] = DueSolve(keep=keep)
        if known.is_all_used and known.labels.num_examples < self._config.num_features:
            return self._settled_few(due)
        order = known.labels.order()
        sums, leverage_features = known.features.sums(), self._config.leverage_features
        classes, features_SM = self._sampled(sums, order, self._config.sample_size, due)
        ridge, settings = choose_of_sums(
            sums, order, features_SM, classes, self._config, due, leverage_features
        )
        return SetSolution.of_sums(classes.names, classes.counts_C, ridge, settings, leverage_features)

    def _settled_few(self, due: DueSolve[SetSettings]) -> SetSolution:
        known, config = self._statistics, self._config
        order = known.labels.order()
        few = self._few(known.sample.members(), len(order))
        few = replace(few, members=few.members.renumbered(np.argsort(order)))
        classes = _classes_of(few, known.labels.by_name)
        products, leading = few.products(), few.products(config.leverage_features)
        ridge, shrinkage, calibration = choose_of_few(
            few,
            products,
            classes,
            due,
            num_judged=len(few),
            search=few.products(SEARCH_FEATURES),
        )
        outliers = few.ridge(leading, shrinkage, products.scale)
        settings = due.keep or set_settings(
            shrinkage,
            calibration,
            few.left_out(len(few), outliers)[1],
            config,
            few.left_out(config.sample_size // 4, ridge)[1],
        )
        return SetSolution.of_few(classes.names, classes.counts_C, ridge, outliers, settings)

    def _live_of_few(self, members: Sequence[Sampled], labels: Sequence[str], due: DueSolve[Any]) -> LiveSets:
        few, num_judged = self._few(members, len(labels)), self._config.sample_size // 4
        classes = _classes_of(few, labels)
        ridge, shrinkage, calibration = choose_of_few(
            few, few.products(), classes, due, num_judged=num_judged
        )
        settings = due.keep or set_settings(
            shrinkage, calibration, few.left_out(num_judged, ridge)[1], self._config
        )
        return LiveSets(ridge, classes.counts_C, settings.for_live(), labels)

    def _live_of_sums(
        self, labels: Sequence[str], due: DueSolve[Any], since: AddedRows | None = None
    ) -> LiveSets:
        """See Solver; of what came since, the sums know nothing."""
        sums, config, order = self._statistics.features.sums(), self._config, list(range(len(labels)))
        num_members = config.sample_size if due.near is None else config.sample_size // 4
        classes, features_SM = self._sampled(sums, order, num_members, due)
        ridge, settings = choose_of_sums(sums, order, features_SM, classes, config, due, config.num_features)
        return LiveSets(FreshRidge(PrimalBase(ridge)), classes.counts_C, settings.for_live(), labels)

    def _sampled(
        self, sums: GramSums, order: list[int], num_members: int, due: DueSolve[SetSettings]
    ) -> tuple[Classes, torch.Tensor]:
        """The classes, and features of the sample's first members; of none where nothing is chosen."""
        known = self._statistics
        members = list(known.sample)[: 0 if due.keep is not None else num_members]
        place_of = {known.labels.names[k]: place for place, k in enumerate(order)}
        targets_SC = np.zeros((len(members), len(order)))
        targets_SC[:, 0] = 1
        for row, member in enumerate(members):
            targets_SC[row, [place_of[label] for label in labels_in(member.label)]] = 1
        classes = Classes(list(place_of), sums.class_counts_C.numpy()[order], targets_SC)
        return classes, self._featurize([member.code for member in members])


def _classes_of(few: FewExamples, names: Sequence[str]) -> Classes:
    counts_C = few.counts_C.numpy()
    return Classes(names, counts_C, few.members.targets(len(few), few.num_classes))
