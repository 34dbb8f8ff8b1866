"""What predictions are made by: the learner that a run serves, or what stays as it is while a run goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import RLock

from everlearn.errors import RunError
from everlearn.journal.checkpoints import Checkpoint
from everlearn.learning.run_learner import RunLearner
from everlearn.models.encoder.pool import ModelPool
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.folder.serving import served_checkpoint, served_version
from everlearn.settings import RunConfig
from everlearn.tasks.answer import PredictedText
from everlearn.tasks.classification.closed_form import coder_of
from everlearn.tasks.classification.recorded_coder import RecordedCoder
from everlearn.tasks.task import Task
from everlearn.types import Example, Prediction, Predictor

__all__ = ["Served", "open_learner", "serve_by", "served_of"]


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """A predictor of a run.

    Attributes:
        predictor: Predicts.
        task: What it answers to.
        version: The version that it is; None: the newest state.
        step: The step of the journal that it goes up to.
        turns: Is held while it predicts, where it is a learner that has other things to do, too; None: any
            number of threads may ask at once.
        coder: Makes the codes that it predicts by; None: it needs none, or whoever asks brings them.
    """

    predictor: Predictor
    task: Task
    version: int | None
    step: int
    turns: RLock | None = None
    coder: RecordedCoder | None = None

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """One prediction an example, in order."""
        if self.turns is None:
            return self.predictor.predict(examples)
        with self.turns:
            return self.predictor.predict(examples)

    def answers(self, examples: Sequence[Example], top: int) -> list[PredictedText]:
        """The same as what a user is told, with the ``top`` most probable labels."""
        predictions = self.predict(examples)
        return [self.task.answer(*pair, top) for pair in zip(examples, predictions, strict=True)]


def served_of(folder: RunFolder, version: int | None = None, config: RunConfig | None = None) -> Served:
    """The predictor of a version's saved state (None: of what the run serves), with everything that it holds.

    Args:
        folder: The run.
        version: The version.
        config: Settings to use in place of the run's own.

    Raises:
        RunError: There is no such version, its state is gone, or nothing was saved yet.
        StateError: The state is damaged.
    """
    if version is None:
        served = served_version(folder)
        version = None if served is None else served.version
        checkpoint = served_checkpoint(folder)
    else:
        checkpoint = folder.checkpoints.load(_file_of(folder, version))
    learner = _restored(folder, checkpoint, config)
    if version is not None:
        learner.solve()  # one that was written anew after a deletion may not be
    snapshot = learner.snapshot()
    turns = RLock() if snapshot is None else None
    return Served(snapshot or learner, folder.task, version, checkpoint.step, turns, coder_of(learner))


def serve_by(folder: RunFolder, learner: RunLearner) -> None:
    """Let a learner of ``open_learner`` predict what the run serves: what its writer says, too."""
    if served_version(folder) is not None:
        learner.solve()  # see ``served_of``


def open_learner(
    path: Path,
    config: RunConfig | None = None,
    *,
    on_note: Callable[[str], None] = lambda _: None,
    models: ModelPool | None = None,
) -> tuple[RunFolder, RunLearner]:
    """A run for reading, and the learner that it serves. Another process may go on writing the run.

    Args:
        path: The run folder.
        config: Settings to use in place of the run's own (for another device, say).
        on_note: Is told what was found damaged and passed over.
        models: Gives encoders; None: the run has its own.

    Raises:
        RunError: Not a run folder, of another format version, or nothing was learned yet.
        StateError: The saved state is damaged.
        ModelError: The run's model cannot be loaded.
    """
    folder = RunFolder.open_to_read(path)
    folder.models = models or folder.models
    try:
        # The state is verified before a model is loaded: damage is told at once.
        learner = _restored(folder, served_checkpoint(folder), config)
    except BaseException:
        folder.close()
        raise
    for note in folder.notes:
        on_note(note)
    return folder, learner


def _restored(folder: RunFolder, checkpoint: Checkpoint, config: RunConfig | None = None) -> RunLearner:
    learner = folder.fresh_learner(checkpoint.generation, config)
    learner.restore(checkpoint.learner)
    return learner


def _file_of(folder: RunFolder, number: int) -> str:
    found = folder.history.version(number)
    if found is None:
        raise RunError(f"{folder.path} has no version {number}")
    if found.file is None:
        raise RunError(f"version {number} of {folder.path} is retired ({found.reason}), so its state is gone")
    return found.file
