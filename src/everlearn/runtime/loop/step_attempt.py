"""A step that is journaled and then made; again without what could not be learned, where it failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from everlearn.journal.fold_steps import fold_step
from everlearn.journal.journal import Journal
from everlearn.journal.records import FoldStep, KeptRejection, NewStep, Step
from everlearn.journal.standing.unlearnable import leave_out
from everlearn.types import Example

__all__ = ["StepAttempt"]


@dataclass(frozen=True, slots=True, eq=False)
class StepAttempt:
    """What is tried.

    Attributes:
        new: The step.
        due: Examples that it learns in turn.
        unlearnable: Offsets of examples that are left out, and why: some that come with the step, or earlier
            ones that waited.
        changes_the_past: Whether states before the step hold something of those.
    """

    new: NewStep
    due: Sequence[Example]
    unlearnable: Mapping[int, str]
    changes_the_past: bool = False

    def journal(self, journal: Journal, *, keep_text: bool) -> Step:
        """Append the step; what is left out keeps its place and is never learned."""
        with journal.transaction():
            step = journal.append(self.new, keep_text=keep_text)
            offsets = sorted(self.unlearnable)
            if offsets:
                leave_out(
                    journal,
                    offsets,
                    first_step=journal.examples.step_of(offsets[0]) if self.changes_the_past else step.step,
                    reason=self.unlearnable[offsets[0]],
                )
        return step

    def fold_step(self, journal: Journal, step: Step) -> FoldStep:
        """What a fold needs of the step that was journaled."""
        if not self.new.changes:
            return FoldStep(step=step, arrivals=self.new.arrivals, forgotten=(), learned=self.due)
        read = fold_step(journal, step)
        return replace(read, arrivals=self.new.arrivals)

    def without(
        self, found: Mapping[str, str], rejected: Sequence[KeptRejection], journal: Journal, is_state: bool
    ) -> StepAttempt:
        """The step without examples that cannot be learned. It is not in the journal any more.

        Args:
            found: Their ids, and why.
            rejected: Tells of them.
            journal: The journal before the step.
            is_state: Whether an example is part of the state from its arrival on, and not only once it is
                learned.
        """
        first = journal.next_offset
        offsets = {arrival.example.id: first + k for k, arrival in enumerate(self.new.arrivals)}
        turns = {example.id for example in self.due}
        known = journal.known([id_ for id_ in found if id_ not in offsets])
        out = {change.offset for change in self.new.changes if change.kind == "readmitted"}
        changed = {change.offset for change in self.new.changes if change.kind != "pending"}
        earlier = {
            known[id_].offset: reason
            for id_, reason in found.items()
            if id_ in known
            and known[id_].role == "learn"
            and (is_state or id_ in turns or known[id_].offset in out)
        }
        arrived = {offsets[id_]: reason for id_, reason in found.items() if id_ in offsets}
        gone = {known[id_].offset for id_ in found if id_ in known} | set(arrived)
        new = replace(
            self.new,
            changes=[change for change in self.new.changes if change.offset not in gone & changed],
            rejected=[*self.new.rejected, *rejected],
        )
        return StepAttempt(
            new=new,
            due=[example for example in self.due if example.id not in found],
            unlearnable={**self.unlearnable, **arrived, **earlier},
            changes_the_past=self.changes_the_past or (is_state and bool(earlier)),
        )
