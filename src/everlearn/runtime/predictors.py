"""What a run predicts by, from moment to moment: objects that stay as they are, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from threading import RLock

from everlearn.learning.run_learner import RunLearner
from everlearn.runtime.fold.served_learner import Served, served_of
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.folder.serving import served_state, served_version
from everlearn.settings import RunConfig
from everlearn.tasks.classification.closed_form import coder_of

__all__ = ["Predictors"]


class Predictors:
    """Gives the predictor of now, and those of versions.

    Args:
        folder: The run.
        config: Settings that models are loaded with.
        turns: Is held by who changes the run, and while a learner predicts that has other things to do, too.
        reading: Gives a block within which all that is read of the journal is of one moment.
    """

    def __init__(
        self,
        folder: RunFolder,
        config: RunConfig,
        turns: RLock,
        reading: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._folder = folder
        self._config = config
        self._turns = turns
        self._reading = reading
        self._published: Served | None = None
        self._read: tuple[object, Served] | None = None
        self._versions: dict[tuple[int, str | None], Served] = {}

    def publish(self, learner: RunLearner, *, is_changed: bool = False) -> None:
        """Let the present state, or the version to be served (which may hold something else), predict now."""
        serving = served_version(self._folder)
        if is_changed:
            self._versions.clear()
        if serving is None:
            snapshot = learner.snapshot()
            turns = None if snapshot is not None else self._turns
            self._published = Served(
                snapshot or learner,
                self._folder.task,
                None,
                self._folder.journal.last_step,
                turns,
                coder_of(learner),
            )
        elif is_changed or self._published is None or self._published.version != serving.version:
            self._published = served_of(self._folder, config=self._config)

    def withdraw(self) -> None:
        """Let nothing that was published predict any more."""
        self._published = None

    def now(self) -> Served:
        """The one that was published last or, where nobody publishes, of what was saved last."""
        published = self._published  # another may take its place at any moment
        if published is not None:
            return published
        with self._reading():
            state = served_state(self._folder)
            if self._read is None or self._read[0] != state:
                self._read = state, served_of(self._folder, config=self._config)
            return self._read[1]

    def of_version(self, number: int) -> Served:
        """The one of a version."""
        with self._reading():
            found = self._folder.history.version(number)
            key = (number, None if found is None else found.file)  # a deletion writes versions anew
            if key not in self._versions:
                self._versions = {key: served_of(self._folder, number, config=self._config)}
            return self._versions[key]
