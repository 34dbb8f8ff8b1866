"""What a run predicts by, as a file that any number of processes map: a head.

A head is derived and complete: nothing of the journal or of a saved state is read to predict by it. It is
published by who has the run open for writing, and withdrawn before the run is changed and when it is opened
for writing again. So while there is one it says what the run says, whatever became of the process that
published it, and nothing outlives here what the run has forgotten.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path
from threading import Lock

from everlearn.errors import StateError
from everlearn.learning.run_learner import RunLearner
from everlearn.models.encoder.pool import ModelPool
from everlearn.runtime.fold.served_learner import Served
from everlearn.runtime.folder.run_folder import PUBLISHED, RunFolder
from everlearn.settings import RunConfig
from everlearn.sharing.publication import OnNewParts, Publication, Publisher
from everlearn.sharing.weight_file import MappedWeights
from everlearn.tasks.classification.closed_form import coder_of
from everlearn.tasks.origin import Origin
from everlearn.tasks.records import LearnerRecord
from everlearn.tasks.table import TASKS, task_of
from everlearn.types import Json, State
from everlearn.version import __version__

__all__ = ["HeadOpener", "HeadPublisher", "publication_of"]

_HEAD_FORMAT = 2
"""Raised when what heads consist of changes between two releases."""
_WRITTEN_BY = f"{__version__}, heads of format {_HEAD_FORMAT}"
_HEAD = "head"
_MOST_LEARNERS = 64


class HeadPublisher:
    """Publishes what a run predicts by. One at a time does: who has it open for writing.

    Args:
        folder: The run.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._publisher: Publisher | None = None
        self._published: Served | None = None

    def publish(
        self,
        learner: RunLearner,
        served: Served,
        on_new_parts: OnNewParts = lambda _: None,
    ) -> bool:
        """Publish it, if it is not what was published last.

        Args:
            learner: The run's learner.
            served: What predicts.
            on_new_parts: See ``Publisher.publish``.

        Returns:
            False: it cannot be a file: it is a learner itself, or reads by another trunk than the run does.

        Raises:
            StorageError: It cannot be written; nothing is published then.
        """
        if self._published is not served:
            self._published = None
            if self._publisher is None:
                self._publisher = Publisher(self._folder.path / PUBLISHED)
            if _publish(self._publisher, self._folder, learner, served, on_new_parts):
                self._published = served
        return self._published is not None

    def withdraw(self) -> None:
        """Let no process take it up any more; the next one will be much the same."""
        if self._published is not None and self._publisher is not None:
            self._publisher.withdraw(_HEAD, keep_parts=True)
        self._published = None

    def remove(self) -> None:
        """Let no process take it up any more, and let nothing be left of it."""
        self._published = self._publisher = None
        self._folder.withdraw_published()


def _publish(
    publisher: Publisher,
    folder: RunFolder,
    learner: RunLearner,
    served: Served,
    on_new_parts: OnNewParts,
) -> bool:
    """Publish what a run, which is open for writing, predicts by.

    Args:
        publisher: Of its folder.
        folder: The run.
        learner: Its learner.
        served: What predicts.
        on_new_parts: See ``Publisher.publish``.

    Returns:
        False: it cannot be a file: it is a learner itself, or reads by another trunk than the run learns by.

    Raises:
        StorageError: It cannot be written; nothing is published then.
    """
    coder = None if served.coder is None else served.coder.fingerprint
    if served.turns is not None or coder != learner.coder_fingerprint:
        return False
    packed = learner.packed(served.predictor)
    if packed is None:
        return False
    adapter = folder.adapter_folder()
    about: dict[str, Json] = {
        "everlearn": _WRITTEN_BY,
        "version": served.version,
        "step": served.step,
        "coder": coder,
        "config": folder.config.to_mapping(),
        "learner": folder.learner_record().model_dump(mode="json"),
        "adapter": None if adapter is None else adapter.relative_to(folder.path).as_posix(),
        "head": dict(packed.data),
    }
    publisher.publish(_HEAD, packed.tensors, about, on_new_parts)
    return True


def publication_of(run: Path) -> Publication:
    """What a run publishes, to a reader."""
    return Publication(run / PUBLISHED, _HEAD)


class HeadOpener:
    """Takes up what runs have published. Any thread may use it.

    What heads are alike in, as those of a hub's tenants are, is made once for all of them.

    Args:
        models: Gives encoders.
    """

    def __init__(self, models: ModelPool) -> None:
        self._models = models
        self._lock = Lock()
        self._learners: OrderedDict[str, RunLearner] = OrderedDict()

    def served(self, run: Path, head: MappedWeights) -> Served | None:
        """What predicts by a head; None: another version of everlearn wrote it.

        Raises:
            StateError: It is damaged.
            ConfigError: See ``Task.learner``.
        """
        about = head.about
        if about.get("everlearn") != _WRITTEN_BY:
            return None
        try:
            learner = self._learner(run, about)
            predictor = learner.unpacked(State(head.tensors, about["head"]))
            task, version, step = TASKS[about["config"]["task"]], about["version"], int(about["step"])
            if learner.coder_fingerprint != about["coder"]:
                raise ValueError("it is of another coder than its record")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StateError(f"{head.path} is no head: {error}; delete it, and it is made anew") from error
        return Served(predictor, task, version, step, None, coder_of(learner))

    def _learner(self, run: Path, about: dict[str, Json]) -> RunLearner:
        """An empty one of the kind that the head is of."""
        if about["adapter"] is not None:  # which is in memory for as long as its learner is
            return self._made(run, about, run / about["adapter"])
        key = json.dumps([about["config"], about["learner"]])
        with self._lock:
            known = self._learners.get(key)
            if known is not None:
                self._learners.move_to_end(key)
                return known
        learner = self._made(run, about, None)
        with self._lock:
            self._learners[key] = learner
            while len(self._learners) > _MOST_LEARNERS:
                self._learners.popitem(last=False)
        return learner

    def _made(self, run: Path, about: dict[str, Json], adapter: Path | None) -> RunLearner:
        config = RunConfig.from_mapping(about["config"], place=str(run))
        record = LearnerRecord.model_validate(about["learner"])
        origin = Origin(owner=str(run), adapter=adapter, models=self._models)
        return task_of(config).learner(config, record, origin)
