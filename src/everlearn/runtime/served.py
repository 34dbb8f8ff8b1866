"""What predictions are made by: an object that stays as it is while the run goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from threading import RLock

from everlearn.errors import RunError
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.types import Example, Prediction, Predictor

__all__ = ["Served", "served_of"]


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """A predictor of a run.

    Attributes:
        predictor: Predicts.
        version: The version that it is; None: the newest state.
        turns: Is held while it predicts, where it is a learner that has other things to do, too; None: any
            number of threads may ask at once.
    """

    predictor: Predictor
    version: int | None
    turns: RLock | None = None

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """One prediction an example, in order."""
        if self.turns is None:
            return self.predictor.predict(examples)
        with self.turns:
            return self.predictor.predict(examples)


def served_of(folder: RunFolder, version: int | None = None) -> Served:
    """The predictor of a saved state, with everything that it holds.

    Args:
        folder: The run.
        version: None: what the run serves.

    Raises:
        RunError: There is no such version, its state is gone, or nothing was saved yet.
        StateError: The state is damaged.
    """
    if version is None:
        served = folder.served_version()
        version = None if served is None else served.version
        checkpoint = folder.served_checkpoint()
    else:
        checkpoint = folder.checkpoints.load(_file_of(folder, version))
    learner = folder.fresh_learner(checkpoint.generation)
    learner.restore(checkpoint.learner)
    learner.solve()
    snapshot = learner.snapshot()
    return Served(learner, version, RLock()) if snapshot is None else Served(snapshot, version)


def _file_of(folder: RunFolder, number: int) -> str:
    found = folder.history.version(number)
    if found is None:
        raise RunError(f"{folder.path} has no version {number}")
    if found.file is None:
        raise RunError(f"version {number} of {folder.path} is retired ({found.reason}), so its state is gone")
    return found.file
