"""From what was learned to what predictions are made by: few examples by their codes, many by their sums."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

from everlearn.learning.closed_form.class_means import ClassMeans
from everlearn.learning.closed_form.coding import Coding, Featurize
from everlearn.learning.closed_form.config import ClosedFormConfig
from everlearn.learning.closed_form.few_solution import FewSolution, score_few, solve_few
from everlearn.learning.closed_form.gram_sums import GramSums
from everlearn.learning.closed_form.label_sets.solution import SetSolution
from everlearn.learning.closed_form.live.added_rows import AddedRows
from everlearn.learning.closed_form.live.few_examples import FewExamples
from everlearn.learning.closed_form.live.live_ridge import LiveRidge
from everlearn.learning.closed_form.live.making import live_of_few, live_of_sums
from everlearn.learning.closed_form.remade import Remade
from everlearn.learning.closed_form.solution import (
    DueSolve,
    Learned,
    SampleData,
    SampleScores,
    Solution,
    TextData,
    score_sample,
    solve,
)
from everlearn.learning.closed_form.statistics import Statistics
from everlearn.learning.closed_form.statistics.count_sums import gram_matrix
from everlearn.memory.hash_sample import Sampled

__all__ = ["Solver"]


class Solver:
    """Solves what was learned.

    Args:
        statistics: What was learned.
        config: Sizes.
        coding: Makes features of codes.
        featurize: The same, with those of the last batch kept.
    """

    def __init__(
        self, statistics: Statistics, config: ClosedFormConfig, coding: Coding, featurize: Featurize
    ) -> None:
        self._statistics = statistics
        self._config = config
        self._coding = coding
        self._featurize = featurize

    @property
    def is_remade(self) -> bool:
        """Whether a settled solution is made of the examples, or else what is saved of it is its settings:
        it may be let go and made again, see ``settled_again``.

        Here where there are fewer examples than features, and the sample uses them all.
        """
        known = self._statistics
        return known.is_all_used and known.labels.num_examples < self._config.num_features

    def settled(self) -> Solution:
        """Everything, with settings that depend on the set of examples alone, as all its bits do."""
        return solve(self._learned(), self._config)

    def settled_again(self, keep: Any = None) -> FewSolution | SetSolution:
        """The same where it is remade.

        Args:
            keep: Settings that this chose before, of the same examples.
        """
        return solve_few(*self._by_name(), self._statistics.labels.by_name, self._config, keep)

    def scores(self, solution: Solution | FewSolution | SetSolution) -> SampleScores:
        """What is said of the sample's members, each left out, by a settled solution."""
        known = self._statistics
        ids = [member.id for member in known.sample]
        if isinstance(solution, FewSolution):
            return score_few(*self._by_name(), ids, solution)
        assert isinstance(solution, Solution), "of sets of labels there are no such scores"
        return score_sample(self._learned(), ids, self._config, solution.settings)

    def live(self, due: DueSolve[Any]) -> LiveRidge[Any]:
        """A live predictor that has everything now."""
        known = self._statistics
        if known.is_few:
            return self._live_of_few(known.sample.members(), known.labels.names, due)
        return self._live_of_sums(known.labels.names, due)

    def live_before(self, rows: AddedRows, settings: Any) -> LiveRidge[Any]:
        """The live predictor that rows were added to, or will be, as it was when it was made."""
        known = self._statistics
        due, labels = DueSolve(keep=settings), known.labels.names[: rows.num_classes]
        for codes, classes, sign in rows.by_sign():
            known.count(codes, classes, -sign)
        try:
            if rows.is_few:
                return self._live_of_few(rows.without(known.sample.members()), labels, due)
            return self._live_of_sums(labels, due, rows)
        finally:
            for codes, classes, sign in rows.by_sign():
                known.count(codes, classes, sign)

    def _live_of_few(
        self, members: Sequence[Sampled], labels: Sequence[str], due: DueSolve[Any]
    ) -> LiveRidge[Any]:
        few = self._few(members, len(labels))
        return live_of_few(few, self._statistics.counts, labels, self._config, due)

    def _live_of_sums(
        self, labels: Sequence[str], due: DueSolve[Any], since: AddedRows | None = None
    ) -> LiveRidge[Any]:
        """Of all that was learned.

        Args:
            labels: That there are.
            due: How settings are come by.
            since: What is to be left out of it, where it is out of the sums; None: nothing.
        """
        return live_of_sums(self._learned(labels, since), self._config, due)

    def _learned(self, labels: Sequence[str] | None = None, since: AddedRows | None = None) -> Learned:
        known = self._statistics
        names = known.labels.names
        sums, labels = known.features.sums(), names if labels is None else labels
        texts: Callable[[int], TextData] | None = None
        if known.texts is not None:
            members = list(known.texts) if since is None else since.before(known.texts.members(), names)
            texts = partial(self._text_data, members)
        return Learned(sums, known.counts, self._means(sums, len(labels)), labels, self._sample_data, texts)

    def _text_data(self, members: Sequence[Sampled], most: int) -> TextData:
        counts_SH = gram_matrix([member.code for member in members[:most]], self._config.gram_bits)
        return TextData(counts_SH, [member.label for member in members[:most]])

    def _means(self, sums: GramSums, num_classes: int | None = None) -> list[ClassMeans]:
        """Of the first so many classes, or of all, in their order."""
        return [ClassMeans(view, sums.class_sums()[:num_classes, view]) for view in self._views]

    @property
    def _views(self) -> Sequence[torch.Tensor]:
        return self._coding.views if self._config.class_means else ()

    def _by_name(self) -> tuple[FewExamples, sp.csr_matrix]:
        """All examples, and the sums of their grams, with the classes in the order of their names."""
        known = self._statistics
        order = known.labels.order()
        few = self._few(known.sample.members(), len(order))
        return replace(few, members=few.members.renumbered(np.argsort(order))), known.counts.sums()[order]

    def _few(self, members: Sequence[Sampled], num_classes: int) -> FewExamples:
        codes = [member.code for member in members]
        coding = self._coding
        features: Remade[torch.Tensor] = Remade(lambda: coding.features(codes), lambda made: made.nbytes)
        classes = self._statistics.labels.members(member.label for member in members)
        counts_NH = gram_matrix(codes, self._config.gram_bits)
        has_words = self._statistics.texts is not None
        return FewExamples(features, counts_NH, classes, num_classes, coding.sketched, self._views, has_words)

    def _sample_data(self, num_members: int) -> SampleData:
        members = list(self._statistics.sample)[:num_members]
        codes = [member.code for member in members]
        return SampleData(
            self._featurize(codes),
            gram_matrix(codes, self._config.gram_bits),
            [member.label for member in members],
        )
