"""The learner that a run serves, opened for reading."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from everlearn.learning.run_learner import RunLearner
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.settings import RunConfig

__all__ = ["open_learner"]


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
