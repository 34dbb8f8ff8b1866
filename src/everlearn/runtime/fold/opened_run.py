"""A run brought back: its folder and its learner."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from everlearn.config import RunConfig
from everlearn.learning.run_learner import RunLearner
from everlearn.runtime.fold.certificates import Issued, finish_deletions, issued_notes
from everlearn.runtime.fold.failed_steps import UnmadeStepError
from everlearn.runtime.fold.fold import Fold
from everlearn.runtime.fold.recovery import Recovered, recover, recovery_notes, take_back
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.threads import use_threads
from everlearn.tasks.records import RunStatus
from everlearn.tasks.scores import RunScores

__all__ = ["OpenedRun", "brought_back", "folded", "open_learner", "recovered_run", "with_deletions_finished"]


def open_learner(
    path: Path, config: RunConfig | None = None, *, on_note: Callable[[str], None] = lambda _: None
) -> tuple[RunFolder, RunLearner]:
    """A run for reading, and the learner that it serves. Another process may go on writing the run.

    Args:
        path: The run folder.
        config: Settings to use in place of the run's own (for another device, say).
        on_note: Is told what was found damaged and passed over.

    Raises:
        RunError: Not a run folder, of another format version, or nothing was learned yet.
        StateError: The saved state is damaged.
        ModelError: The run's model cannot be loaded.
    """
    folder = RunFolder.open_to_read(path)
    try:
        # The state is verified before a model is loaded: damage is told at once.
        checkpoint = folder.served_checkpoint()
        learner = folder.fresh_learner(checkpoint.generation, config)
        learner.restore(checkpoint.learner)
    except BaseException:
        folder.close()
        raise
    for note in folder.notes:
        on_note(note)
    return folder, learner


@dataclass(frozen=True, slots=True, eq=False)
class OpenedRun:
    """A run under its lock, folded to its newest step.

    Attributes:
        folder: The run folder.
        learner: In the state after the newest step.
        scores: Of the stream so far.
        recovered: How the state was brought back.
        issued: Certificates of earlier deletions that were issued, or are pending still.
    """

    folder: RunFolder
    learner: RunLearner
    scores: RunScores
    recovered: Recovered
    issued: Issued = field(default_factory=lambda: Issued(files={}))

    @property
    def notes(self) -> list[str]:
        """What a user should know of how it was opened, in sentences."""
        return [*recovery_notes(self.recovered), *issued_notes(self.folder.path, self.issued)]

    def status(self, learner: RunLearner) -> RunStatus:
        """What a checkpoint of a state keeps beside the learner's; figures of held-out sets stay.

        Args:
            learner: In that state.
        """
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


@contextmanager
def recovered_run(path: Path, *, own_threads: bool = True) -> Iterator[OpenedRun]:
    """A run under its lock for the time of the block, folded to its newest step.

    Args:
        path: The run folder.
        own_threads: Fold on as many threads as the run is set to; else the caller has chosen.
    """
    with RunFolder.open_to_write(path) as folder:
        yield brought_back(folder, own_threads=own_threads)


def brought_back(folder: RunFolder, *, own_threads: bool = True) -> OpenedRun:
    """A run that is open for writing, folded to its newest step; arguments as of ``recovered_run``."""
    config = folder.config
    if own_threads:
        use_threads(config.run.threads)
    try:
        opened = folded(folder)
    except UnmadeStepError as failed:
        take_back(folder, failed, config)
        opened = folded(folder)
    return with_deletions_finished(opened)


def folded(folder: RunFolder) -> OpenedRun:
    """A run that is open for writing, folded to its newest step; what is left of deletions stays.

    Raises:
        StateError: Something that is needed is damaged or was dropped.
    """
    learner = folder.fresh_learner()
    scores = folder.task.scores(folder.config)
    return OpenedRun(folder, learner, scores, recover(folder, Fold(learner, observers=(scores,)), scores))


def with_deletions_finished(opened: OpenedRun) -> OpenedRun:
    """The same, after what was left to do of deletions is done."""

    def save() -> None:
        opened.folder.save(opened.learner.state(), opened.status(opened.learner))

    return replace(opened, issued=finish_deletions(opened.folder, opened.learner, save))
