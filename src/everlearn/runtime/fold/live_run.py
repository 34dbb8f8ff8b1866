"""A run brought to its newest step: folder, learner, scores and fold, kept together from there on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from everlearn.journal.records import EndedExperience
from everlearn.learning.run_learner import RunLearner
from everlearn.runtime.fold.certificates import Issued, finish_deletions, issued_notes
from everlearn.runtime.fold.failed_steps import UnmadeStepError
from everlearn.runtime.fold.fold import Fold
from everlearn.runtime.fold.recovery import Recovered, recover, recovery_notes, take_back
from everlearn.runtime.fold.work_clock import WorkClock
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.settings import RunConfig
from everlearn.tasks.batch_result import BatchResult, Observer
from everlearn.tasks.records import RunStatus
from everlearn.tasks.scores import RunScores

__all__ = ["LiveRun", "recovered_run"]


class LiveRun:
    """A run under its lock, in the state after the newest step.

    Args:
        folder: The run folder, open for writing.
        config: Settings in place of the run's own.
        learner: A fresh learner; None: one is made.
        observers: Look at every new step beside the run's own scores.
        on_boundary: Called where an experience ends.
        takes_back: Take the newest step out of the journal where it cannot be made; else that is an error.

    Attributes:
        learner: In the state after the newest step.
        scores: Of the stream so far.
        fold: Makes the next step.
        recovered: How the state was brought back at first.
        issued: Certificates of earlier deletions that were issued, or are pending still.

    Raises:
        StateError: The journal is damaged, or no saved state fits it and it cannot be folded.
    """

    def __init__(
        self,
        folder: RunFolder,
        config: RunConfig | None = None,
        learner: RunLearner | None = None,
        observers: Sequence[Observer] = (),
        on_boundary: Callable[[LiveRun, EndedExperience], None] | None = None,
        *,
        takes_back: bool = True,
    ) -> None:
        self.folder = folder
        self.config = config or folder.config
        self.learner = learner or folder.fresh_learner(config=self.config)
        self.issued = Issued(files={})
        self._is_live = False
        self._observers = tuple(observers)
        self._on_boundary = on_boundary
        self.scores, self.fold = self._new_fold(WorkClock())
        try:
            self.recovered = recover(folder, self.fold, self.scores)
        except UnmadeStepError as failed:
            if not takes_back:
                raise
            take_back(folder, failed, self.config)
            self.recovered = self.bring_back()
        self._is_live = True

    def bring_back(self) -> Recovered:
        """Fold to the newest step again, with a fresh learner."""
        is_live, self._is_live = self._is_live, False
        try:
            self.learner = self.folder.fresh_learner(config=self.config)
            self.scores, self.fold = self._new_fold(self.fold.clock)
            return recover(self.folder, self.fold, self.scores)
        finally:
            self._is_live = is_live

    def finish_deletions(self, save: Callable[[], None] | None = None) -> None:
        """Do what is left to do of deletions that are journaled, and issue their certificates.

        The checkpoint that it needs is written by ``save``; None: with the figures of now.
        """
        self.issued = finish_deletions(self.folder, self.learner, save or self.save)

    def save(self) -> None:
        """Write a checkpoint."""
        self.folder.save(self.learner.state(), self.status(self.learner))

    def status(self, learner: RunLearner) -> RunStatus:
        """What a checkpoint of a learner keeps beside its state; figures of held-out sets stay."""
        before = self.recovered.status
        figures = self.scores.summary(
            before.seconds, num_classes=len(learner.labels), fingerprint=learner.fingerprint()
        )
        tested = {name: value for name, value in before.summary.items() if name.startswith("test_")}
        return before.model_copy(
            update={
                "counts": self.scores.counts.model_copy(),
                "scores": self.scores.to_json(),
                "summary": figures | tested,
            }
        )

    @property
    def notes(self) -> list[str]:
        """What a user should know of how it was opened, in sentences."""
        return [*recovery_notes(self.recovered), *issued_notes(self.folder.path, self.issued)]

    def _new_fold(self, clock: WorkClock) -> tuple[RunScores, Fold]:
        scores = self.folder.task.scores(self.config)
        observers = (scores, self._observe)
        return scores, Fold(self.learner, observers=observers, clock=clock, on_boundary=self._end_experience)

    def _end_experience(self, boundary: EndedExperience) -> None:
        if self._on_boundary is not None:
            self._on_boundary(self, boundary)

    def _observe(self, result: BatchResult) -> None:
        if not self._is_live:
            return  # who looks from outside was told of the journaled steps when they were made
        if result.report is not None and result.report.skipped is not None:
            numbers = {"loss": result.report.loss, "gradient_norm": result.report.gradient_norm}
            with self.folder.saving():
                self.folder.decide("skipped-step", "skipped", result.report.skipped, numbers)
        for observer in self._observers:
            observer(result)


@contextmanager
def recovered_run(run: Path | LiveRun) -> Iterator[LiveRun]:
    """A run under its lock for the time of the block, folded to its newest step; an open one as it is."""
    if isinstance(run, LiveRun):
        yield run
        return
    with RunFolder.open_to_write(run) as folder:
        live = LiveRun(folder)
        live.finish_deletions()
        yield live
