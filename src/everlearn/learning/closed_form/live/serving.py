"""What a learner predicts by: settled, or live, and made anew when that is due.

Nothing here is state but what a saved learner must know to go on with the same bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from everlearn.learning.closed_form.coding import Featurize
from everlearn.learning.closed_form.config import ClosedFormConfig
from everlearn.learning.closed_form.few_solution import FewSolution
from everlearn.learning.closed_form.label_sets.solution import SetSolution
from everlearn.learning.closed_form.live.added_rows import AddedRows, Batch
from everlearn.learning.closed_form.live.live_ridge import LiveRidge
from everlearn.learning.closed_form.live.schedule import (
    AnySettings,
    SolveSchedule,
    any_settings_from_json,
    settings_to_json,
)
from everlearn.learning.closed_form.remade import Kept, Remade
from everlearn.learning.closed_form.saved_solution import solution_from_state, solution_to_state
from everlearn.learning.closed_form.solution import DueSolve, SampleScores, Solution
from everlearn.learning.closed_form.solver import Solver
from everlearn.learning.closed_form.statistics import Statistics
from everlearn.learning.closed_form.statistics.count_sums import gram_matrix
from everlearn.types import Json

__all__ = ["Served", "Serving", "Settled"]

Settled = Solution | FewSolution | SetSolution
_Live = Kept[LiveRidge[Any]] | Remade[LiveRidge[Any]]

_SOLUTION = "solution."


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """What predictions were made by before a correction, and may be after it.

    Attributes:
        live: The live predictor.
        rows: What it has behind its base.
        schedule: When it is made anew.
    """

    live: _Live | None
    rows: AddedRows
    schedule: SolveSchedule


class Serving:
    """Holds what predictions are made by, and has it made when that is due.

    What is made of few examples may be let go and made again, see ``Remade``.

    Args:
        statistics: What was learned; the learner changes it and says so.
        config: Sizes.
        solver: Makes what predictions are made by.
        featurize: Gives features of codes.
    """

    def __init__(
        self, statistics: Statistics, config: ClosedFormConfig, solver: Solver, featurize: Featurize
    ) -> None:
        self._statistics = statistics
        self._config = config
        self._solver = solver
        self._featurize = featurize
        self.invalidate()

    def invalidate(self) -> None:
        """Something was forgotten: nothing of before is used again."""
        self._solution: Kept[Solution] | Remade[FewSolution | SetSolution] | None = (
            None  # where it is settled
        )
        self._live: _Live | None = None  # where it is not
        self._prepared: Kept[LiveRidge[Any]] | None = None  # where it is: what goes on from there
        self._ahead: LiveRidge[Any] | None = None  # what the next solve will come to, where it was asked for
        self._settings_ahead: AnySettings | None = None  # of few: what it will come to
        self._rows = AddedRows()
        self._schedule = SolveSchedule(self._config)

    @property
    def current(self) -> Settled | LiveRidge[Any] | None:
        """What predictions are made by, without what was learned since it was refreshed."""
        if self._solution is not None:
            return self._solution.get()
        if self._live is not None and self._rows.is_few and not self._statistics.is_few:
            return self.snapshot()  # that of few could not be made again
        return None if self._live is None else self._live.get()

    @property
    def is_settled(self) -> bool:
        """Whether predictions use everything learned, at full size."""
        return self._solution is not None or not len(self._statistics.labels)

    def note(self, batch: Batch) -> None:
        """Something was learned or taken out: the predictor is to get it before the next prediction."""
        self._live = self._going_on()
        self._solution = self._ahead = self._settings_ahead = self._prepared = None
        if self._live is not None:
            self._rows.pending.append(batch)

    def prepare(self) -> None:
        """Make now what the next example needs; nothing else changes."""
        if not self.is_settled:
            self.snapshot()
        elif isinstance(self._solution, Kept) and self._prepared is None:
            self._prepared = Kept(self._solver.live(DueSolve(keep=self._schedule.settings)))

    def _going_on(self) -> _Live | None:
        """What is added to: the live predictor; where it is settled, one of what the solution is of."""
        if not isinstance(self._solution, Kept):
            return self._live
        return self._prepared or Remade(self._as_it_was, lambda live: live.num_bytes)

    def before_correction(self) -> Served:
        """What there is now, for ``go_on``."""
        return Served(self._going_on(), self._rows, self._schedule)

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
        self._live = self._ahead = self._settings_ahead = None  # their memory is needed
        self._rows = AddedRows(len(self._statistics.labels), self._statistics.is_few)
        if self._solver.is_remade:
            again = self._solver.settled_again()
            self._note_solve(DueSolve(), again)
            self._solution = self._settled_again().holding(again)
        else:
            solution = self._solver.settled()
            self._note_solve(DueSolve(), solution)
            self._solution = Kept(solution)

    def _settled_again(self) -> Remade[FewSolution | SetSolution]:
        """With the settings that were chosen."""
        return Remade(lambda: self._solver.settled_again(self._schedule.settings), lambda one: one.num_bytes)

    def sample_scores(self) -> SampleScores:
        """See the learner's."""
        self.settle()
        assert self._solution is not None, "nothing was learned"
        return self._solver.scores(self._solution.get())

    def refresh(self) -> None:
        """Let the next prediction use everything that was learned."""
        due = self._due()
        if due is None:
            return
        ahead, self._ahead, self._live = self._ahead, None, None  # their memory is needed for the next
        live = self._made_ahead(due) if ahead is None else ahead
        self._settings_ahead = None
        self._rows = AddedRows(len(self._statistics.labels), self._statistics.is_few)
        self._live = self._live_again().holding(live) if self._rows.is_few else Kept(live)
        self._note_solve(due, live)

    def _live_again(self) -> Remade[LiveRidge[Any]]:
        """Of few examples: by the rows that were added to it."""
        return Remade(self._as_it_was, lambda live: live.num_bytes)

    def _as_it_was(self) -> LiveRidge[Any]:
        """The live predictor made again: without what was added since, which is added again."""
        live = self._solver.live_before(self._rows, self._schedule.settings)
        for batch in self._rows.added:
            self._add(live, batch)
        return live

    def snapshot(self) -> Settled | LiveRidge[Any] | None:
        """What ``refresh`` would make current, and will not solve again."""
        due = self._due()
        if due is None:
            return self.current
        if self._ahead is None:
            self._ahead = self._made_ahead(due)
        return self._ahead

    def _made_ahead(self, due: DueSolve[Any]) -> LiveRidge[Any]:
        """What the next solve comes to; where its settings are known, nothing is chosen once more."""
        known = self._settings_ahead
        return self._solver.live(due if known is None else DueSolve(keep=known))

    def to_state(self) -> tuple[dict[str, torch.Tensor], dict[str, Json]]:
        """The solved predictor, which is derived but goes on as it is, and what the live one is made of."""
        tensors: dict[str, torch.Tensor] = {}
        data: dict[str, Json] = {
            "is_settled": self._solution is not None,
            "schedule": self._schedule.to_json(),
            "solution": None,
            "live": None,
        }
        ahead = self._settings_ahead if self._ahead is None else self._ahead.settings
        if ahead is not None and self._statistics.is_few:
            data["ahead"] = settings_to_json(ahead)
        if isinstance(self._solution, Kept):  # of few examples it is made again
            solved, data["solution"] = solution_to_state(self._solution.get())
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
        if (ahead := data.get("ahead")) is not None:
            self._settings_ahead = any_settings_from_json(ahead)
        # In an earlier format a solution might be behind what was learned since.
        if solution is not None and data.get("is_settled", True):
            self._solution = Kept(solution)
            self._rows = AddedRows(len(self._statistics.labels), self._statistics.is_few)
        elif solution is None and data.get("is_settled", False):
            if not self._solver.is_remade or self._schedule.settings is None:
                raise ValueError("there is neither a solution nor what it is made of")
            self._solution = self._settled_again()
        if live is not None:
            self._rows = AddedRows.from_state(tensors, live)
            self._live = self._live_again() if self._rows.is_few else Kept(self._as_it_was())

    def _note_solve(self, due: DueSolve[Any], made: Settled | LiveRidge[Any]) -> None:
        known = self._statistics.labels
        self._schedule.note(due, made.settings, known.num_examples, len(known))

    def _due(self) -> DueSolve[Any] | None:
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
        rows, live = self._rows, self._live.get()
        if not rows.is_few:
            self._live = Kept(live)  # to make it again takes long
        while rows.pending:
            if not self._add(live, rows.pending[0]):
                return False
            rows.added.append(rows.pending.pop(0))
        return True

    def _add(self, live: LiveRidge[Any], batch: Batch) -> bool:
        """Add a batch to a live predictor; False: it cannot go on."""
        return live.add(
            self._featurize(batch.codes),
            gram_matrix(batch.codes, self._config.gram_bits),
            batch.members,
            self._statistics.labels.names[: batch.num_classes],
            batch.sign,
        )
