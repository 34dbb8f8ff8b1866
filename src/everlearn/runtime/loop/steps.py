"""Making steps: each is journaled first; what of it cannot be learned is left out, and said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from everlearn.errors import StorageError
from everlearn.journal.records import NewStep, Step
from everlearn.runtime.fold.failed_steps import (
    UnmadeStepError,
    is_out_of_memory,
    may_be_of_an_example,
    out_of_memory,
)
from everlearn.runtime.fold.live_run import LiveRun
from everlearn.runtime.fold.recovery import learned_before
from everlearn.runtime.fold.unlearnable import find_unlearnable
from everlearn.runtime.loop.rejections import SittingRejections
from everlearn.runtime.loop.step_attempt import StepAttempt
from everlearn.types import Example, Prediction

__all__ = ["StepMaker"]


class StepMaker:
    """Journals and makes steps of a live state; what cannot be learned of them goes to the refusals."""

    def __init__(self, live: LiveRun, rejections: SittingRejections, *, keep_text: bool) -> None:
        self._live = live
        self._journal = live.folder.journal
        self._rejections = rejections
        self._keep_text = keep_text

    def make(
        self,
        new: NewStep,
        due: Sequence[Example] = (),
        predictions: Sequence[Prediction] = (),
        unlearnable: Mapping[int, str] | None = None,
    ) -> bool:
        """Journal a step, then make it; returns whether all of it could be learned.

        Args:
            new: The step.
            due: Examples that it learns in turn.
            predictions: Of those that came with it.
            unlearnable: Offsets of examples of which it is known that they cannot be learned, and why.

        Raises:
            EverlearnError: It cannot be made, and it is not an example that is at fault. It is taken back out
                of the journal; the state is that of after the journal's newest step.
        """
        live = self._live
        attempt = first = StepAttempt(new, due, unlearnable or {})
        while True:
            with live.fold.clock.measure("save"), live.folder.saving():
                step = attempt.journal(self._journal, keep_text=self._keep_text)
            try:
                if attempt.changes_the_past:
                    live.bring_back()
                else:
                    live.fold.make(attempt.fold_step(self._journal, step), predictions)
                return attempt is first
            except StorageError:
                raise
            except Exception as error:
                attempt = self._next_attempt(attempt, step, error)

    def _next_attempt(self, failed: StepAttempt, step: Step, error: Exception) -> StepAttempt:
        """The same step without what cannot be learned of it; raises as ``make``."""
        live = self._live
        learned = failed.fold_step(self._journal, step).learned
        with live.folder.saving():
            # One that cannot be made could never be folded again.
            self._journal.rewind(step.step - 1)
        cause = error.error if isinstance(error, UnmadeStepError) else error
        if is_out_of_memory(cause):
            raise out_of_memory(cause, str(live.folder.path)) from error
        if not live.fold.was_learning or not may_be_of_an_example(cause):
            raise error
        if isinstance(error, UnmadeStepError) and error.step < step.step:
            raise error
        live.bring_back()
        # What waits may hold what was left out, which counts again, as the step was taken back.
        waiting = [example for offset, example in self._waiting() if offset not in failed.unlearnable]
        candidates = {example.id: example for example in [*waiting, *learned]}
        control = learned_before(self._journal, live.learner, step.step)
        found = (
            find_unlearnable(live.learner, list(candidates.values()), control, cause) if candidates else {}
        )
        if not found:
            raise error
        rejected = self._rejections.leave_out({candidates[id_]: reason for id_, reason in found.items()})
        return failed.without(found, rejected, self._journal, not live.learner.learns_at_once)

    def _waiting(self) -> list[tuple[int, Example]]:
        """Offsets and examples that wait within the learner, not to be learned before there is enough."""
        ids = self._live.learner.waiting_ids()
        known = self._journal.known(ids)
        offsets = [known[id_].offset for id_ in ids if id_ in known]
        found = [(offset, self._journal.examples.at(offset)) for offset in offsets]
        return [
            (offset, example) for offset, example in found if example is not None and example.text is not None
        ]
