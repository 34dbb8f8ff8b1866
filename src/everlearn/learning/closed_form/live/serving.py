"""What a learner predicts by: settled, or live, and made anew when that is due.

Nothing here is state but what a saved learner must know to go on with the same bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
import torch

from everlearn.learning.closed_form.coding import Coding, Featurize
from everlearn.learning.closed_form.config import ClosedFormConfig
from everlearn.learning.closed_form.few_solution import FewSolution, score_few, solve_few
from everlearn.learning.closed_form.live.added_rows import AddedRows, Batch
from everlearn.learning.closed_form.live.few_examples import FewExamples
from everlearn.learning.closed_form.live.live_solution import LiveSolution
from everlearn.learning.closed_form.live.making import live_of_few, live_of_sums
from everlearn.learning.closed_form.live.schedule import SolveSchedule
from everlearn.learning.closed_form.saved_solution import solution_from_state, solution_to_state
from everlearn.learning.closed_form.solution import (
    DueSolve,
    SampleData,
    SampleScores,
    Settings,
    Solution,
    score_sample,
    solve,
)
from everlearn.learning.closed_form.statistics import Statistics
from everlearn.learning.closed_form.statistics.count_sums import gram_matrix
from everlearn.memory.hash_sample import Sampled
from everlearn.types import Json

__all__ = ["Served", "Serving", "Settled"]

Settled = Solution | FewSolution

_SOLUTION = "solution."


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """What predictions were made by before a correction, and may be after it.

    Attributes:
        live: The live predictor.
        rows: What it has behind its base.
        schedule: When it is made anew.
    """

    live: LiveSolution | None
    rows: AddedRows
    schedule: SolveSchedule


class Serving:
    """Makes what predictions are made by from the statistics.

    Args:
        statistics: What was learned; the learner changes it and says so.
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
        self.invalidate()

    def invalidate(self) -> None:
        """Something was forgotten: nothing of before is used again."""
        self._solution: Settled | None = None  # where it is settled
        self._live: LiveSolution | None = None  # where it is not
        self._ahead: LiveSolution | None = None  # what the next solve will come to, where it was asked for
        self._rows = AddedRows()
        self._schedule = SolveSchedule(self._config)

    @property
    def current(self) -> Settled | LiveSolution | None:
        """What predictions are made by, without what was learned since it was refreshed."""
        return self._solution or self._live

    @property
    def is_settled(self) -> bool:
        """Whether predictions use everything learned, at full size."""
        return self._solution is not None or not len(self._statistics.labels)

    def note(self, batch: Batch) -> None:
        """Something was learned or taken out: the predictor is to get it before the next prediction."""
        self._solution = self._ahead = None
        if self._live is not None:
            self._rows.pending.append(batch)

    def before_correction(self) -> Served:
        """What there is now, for ``go_on``."""
        return Served(self._live, self._rows, self._schedule)

    def go_on(self, before: Served, taken_out: Batch | None) -> None:
        """After something was forgotten that is no secret: as before, but for what was taken out.

        Args:
            before: What there was.
            taken_out: What was forgotten; None: the predictor of before cannot be told.
        """
        self._schedule = before.schedule
        # Of few examples a solution is made anew at once.
        if before.live is not None and taken_out is not None and not self._statistics.is_few:
            self._live, self._rows = before.live, before.rows
            self.note(taken_out)

    def settle(self) -> None:
        """Choose settings and solve at full size, so that predictions use everything learned."""
        if self.is_settled:
            return
        self._live = self._ahead = None  # its memory is needed
        self._rows = AddedRows()
        self._solution = self._of_all_used() if self._is_dual else self._of_all_summed()
        self._note_solve(DueSolve(), self._solution)

    @property
    def _is_dual(self) -> bool:
        """Whether the settled predictor is solved from examples: a function of their set, as its bits are."""
        known = self._statistics
        return known.is_all_used and known.labels.num_examples < self._config.num_features

    def _of_all_used(self, keep: Settings | None = None) -> FewSolution:
        return solve_few(*self._by_name(), self._statistics.labels.by_name, self._config, keep)

    def _of_all_summed(self) -> Solution:
        known = self._statistics
        return solve(known.features.sums(), known.counts, known.labels.names, self._sample_data, self._config)

    def sample_scores(self) -> SampleScores:
        """See the learner's."""
        self.settle()
        assert self._solution is not None, "nothing was learned"
        known = self._statistics
        ids = [member.id for member in known.sample]
        if isinstance(self._solution, FewSolution):
            return score_few(*self._by_name(), ids, self._solution)
        return score_sample(
            known.features.sums(),
            known.counts,
            known.labels.names,
            ids,
            self._sample_data(self._config.sample_size),
            self._config,
            self._solution.settings,
        )

    def refresh(self) -> None:
        """Let the next prediction use everything that was learned."""
        due = self._due()
        if due is None:
            return
        ahead, self._ahead, self._live = self._ahead, None, None  # their memory is needed for the next
        self._live = self._made(due) if ahead is None else ahead
        self._rows = AddedRows(len(self._statistics.labels), self._statistics.is_few)
        self._note_solve(due, self._live)

    def snapshot(self) -> Settled | LiveSolution | None:
        """What ``refresh`` would make current, and will not solve again."""
        due = self._due()
        if due is None:
            return self.current
        if self._ahead is None:
            self._ahead = self._made(due)
        return self._ahead

    def to_state(self) -> tuple[dict[str, torch.Tensor], dict[str, Json]]:
        """The solved predictor, which is derived but goes on as it is, and what the live one is made of."""
        tensors: dict[str, torch.Tensor] = {}
        data: dict[str, Json] = {
            "is_settled": self._solution is not None,
            "schedule": self._schedule.to_json(),
            "solution": None,
            "live": None,
        }
        if isinstance(self._solution, Solution):  # of few examples it is made again
            solved, data["solution"] = solution_to_state(self._solution)
            tensors = {f"{_SOLUTION}{name}": tensor for name, tensor in solved.items()}
        if self._live is not None:
            rows, data["live"] = self._rows.to_state()
            tensors |= rows
        return tensors, data

    def restore(
        self, tensors: Mapping[str, torch.Tensor], data: Mapping[str, Json], device: torch.device
    ) -> None:
        """The inverse of ``to_state``, of statistics that are what they were then."""
        solution, live = None, data.get("live")
        if data["solution"] is not None:
            solved = {
                name.removeprefix(_SOLUTION): tensor
                for name, tensor in tensors.items()
                if name.startswith(_SOLUTION)
            }
            solution = solution_from_state(solved, data["solution"], device)
        self._schedule.restore(data["schedule"], None if solution is None else solution.settings)
        # In an earlier format a solution might be behind what was learned since.
        self._solution = solution if data.get("is_settled", True) else None
        if solution is None and data.get("is_settled", False):
            self._solution = self._of_all_used(self._schedule.settings)
        if live is not None:
            self._make_again(AddedRows.from_state(tensors, live), live["num_added"])

    def _note_solve(self, due: DueSolve, made: Settled | LiveSolution) -> None:
        known = self._statistics.labels
        self._schedule.note(due, made.settings, known.num_examples, len(known))

    def _due(self) -> DueSolve | None:
        """The solve that the next prediction needs; None: the predictor that there is has everything now."""
        if self.is_settled:
            return None
        known = self._statistics.labels
        can_go_on = self._live is not None and self._rows.is_few == self._statistics.is_few
        num_rows = self._rows.num_rows if can_go_on else None
        due = self._schedule.due(known.num_examples, len(known), num_rows)
        if due is None and not self._add_rows():
            return self._schedule.due(known.num_examples, len(known), None)
        return due

    def _add_rows(self) -> bool:
        """Add what is pending to the live predictor; False: it cannot go on."""
        assert self._live is not None
        rows = self._rows
        while rows.pending:
            batch = rows.pending[0]
            if not self._live.add(
                self._featurize(batch.codes),
                gram_matrix(batch.codes, self._config.gram_bits),
                batch.classes_B,
                self._statistics.labels.names[: batch.num_classes],
                batch.sign,
            ):
                return False
            rows.added.append(rows.pending.pop(0))
        return True

    def _made(self, due: DueSolve) -> LiveSolution:
        """A live predictor that has everything now."""
        known = self._statistics
        if known.is_few:
            return self._of_few(known.sample.members(), known.labels.names, due)
        return self._of_sums(known.labels.names, due)

    def _by_name(self) -> tuple[FewExamples, sp.csr_matrix]:
        """All examples, and the sums of their grams, with the classes in the order of their names."""
        known = self._statistics
        order = known.labels.order()
        few = self._few(known.sample.members(), len(order))
        return replace(few, classes_N=np.argsort(order)[few.classes_N]), known.counts.sums()[order]

    def _few(self, members: Sequence[Sampled], num_classes: int) -> FewExamples:
        codes = [member.code for member in members]
        classes_N = self._statistics.labels.numbers(member.label for member in members)
        counts_NH = gram_matrix(codes, self._config.gram_bits)
        return FewExamples(self._coding.features(codes), counts_NH, classes_N, num_classes)

    def _of_few(self, members: Sequence[Sampled], labels: Sequence[str], due: DueSolve) -> LiveSolution:
        few = self._few(members, len(labels))
        return live_of_few(few, self._statistics.counts, labels, self._config, due)

    def _of_sums(self, labels: Sequence[str], due: DueSolve) -> LiveSolution:
        known = self._statistics
        return live_of_sums(known.features.sums(), known.counts, labels, self._sample_data, self._config, due)

    def _make_again(self, rows: AddedRows, num_added: int) -> None:
        """The live predictor as it was: without what was added since, which is added again."""
        known = self._statistics
        due, labels = DueSolve(keep=self._schedule.settings), known.labels.names[: rows.num_classes]
        for batch in rows.all():
            known.count(batch.codes, batch.classes_B, -batch.sign)
        if rows.is_few:
            self._live = self._of_few(rows.without(known.sample.members()), labels, due)
        else:
            self._live = self._of_sums(labels, due)
        for batch in rows.all():
            known.count(batch.codes, batch.classes_B, batch.sign)
        self._rows = rows
        pending, rows.pending = rows.pending[num_added:], rows.pending[:num_added]
        self._add_rows()
        rows.pending = pending

    def _sample_data(self, num_members: int) -> SampleData:
        members = list(self._statistics.sample)[:num_members]
        codes = [member.code for member in members]
        return SampleData(
            self._featurize(codes),
            gram_matrix(codes, self._config.gram_bits),
            [member.label for member in members],
        )
