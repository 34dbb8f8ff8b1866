"""A run brought back: its folder and its learner as saved last."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from everlearn.config import RunConfig
from everlearn.errors import RunError
from everlearn.runtime.learners import RunLearner, rebuild_learner
from everlearn.runtime.run_folder import RunFolder

__all__ = ["open_learner", "restored_learner", "writable_run"]


def open_learner(path: Path, config: RunConfig | None = None) -> tuple[RunFolder, RunLearner]:
    """A run for reading, and its learner. Another process may go on writing the run.

    Args:
        path: The run folder.
        config: Settings to use in place of the run's own (for another device, say).

    Raises:
        RunError: Not a run folder, of another format version, or nothing was learned yet.
        StateError: The saved state is damaged.
        ModelError: The run's model cannot be loaded.
    """
    folder = RunFolder.open_to_read(path)
    return folder, restored_learner(folder, config)


def restored_learner(folder: RunFolder, config: RunConfig | None = None) -> RunLearner:
    """The learner of an opened run. Raises as :func:`open_learner`."""
    # The state is verified before a model is loaded: damage is told at once.
    state = folder.load_state()
    if state is None:
        raise RunError(f"{folder.path} holds nothing learned yet")
    learner = rebuild_learner(config or folder.config, folder.record.learner, str(folder.path))
    learner.restore(state)
    return learner


@contextmanager
def writable_run(path: Path) -> Iterator[RunFolder]:
    """A run under its lock for the time of the block."""
    folder = RunFolder.open_to_write(path)
    try:
        yield folder
    finally:
        folder.close()
