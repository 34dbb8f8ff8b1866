"""Saving a run: checkpoints with what they keep beside the state, and texts that are not to be kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping

from everlearn.journal.deletion.compaction import drop_old_texts
from everlearn.journal.history_records import CheckpointRecord
from everlearn.runtime.fold.live_run import LiveRun
from everlearn.runtime.folder.metrics_file import write_metrics
from everlearn.tasks.records import RunStatus, Seconds
from everlearn.types import Json

__all__ = ["Saving"]


class Saving:
    """Writes checkpoints of a live state.

    Args:
        live: The state.
        started: ``time.perf_counter()`` at the beginning of the sitting.
        needed_texts: Offsets of examples whose texts are to stay.

    Attributes:
        newest: The checkpoint that was written last for itself; None: none was in this sitting.
    """

    def __init__(
        self, live: LiveRun, started: float, needed_texts: Callable[[], Collection[int]] = tuple
    ) -> None:
        self._live = live
        self._started = started
        self._needed_texts = needed_texts
        self._seconds_before = live.recovered.status.seconds
        self._saved_step = live.recovered.checkpoint_step
        self._saved_at = time.monotonic()
        self._between: CheckpointRecord | None = None
        self.newest: CheckpointRecord | None = None

    def go_on_from(self, earlier: Saving) -> None:
        """Take over the time that an earlier one has counted, and when it saved last."""
        self._seconds_before, self._started = earlier.seconds(), time.perf_counter()
        self._saved_at = earlier._saved_at

    @property
    def is_due(self) -> bool:
        """Whether the time between two checkpoints is over, and there is something to save."""
        if self._live.folder.journal.last_step == self._saved_step:
            return False
        return time.monotonic() - self._saved_at >= self._live.config.run.checkpoint_seconds

    def save(self, summary: Mapping[str, Json] | None = None) -> None:
        """Write a checkpoint and the metrics table.

        Raises:
            StorageError: Writing failed; everything journaled is intact.
        """
        live = self._live
        with live.fold.clock.measure("save"):
            live.folder.write_config(live.config)
            self.newest = live.folder.save(live.learner.state(), self.status(summary))
            self._drop_texts()
            live.folder.write_rejections()
        self._saved_at = time.monotonic()
        self._saved_step = live.folder.journal.last_step
        live.scores.rest()

    def save_between(self) -> None:
        """Write a checkpoint, so that the next example that cannot be learned brings few steps back.

        Only the newest of these stays, and takes the place of no other one.
        """
        live, before = self._live, self._between
        with live.fold.clock.measure("save"):
            state, status = live.learner.state(), self.status().model_dump(mode="json")
            with live.folder.saving():
                self._between = live.folder.checkpoints.save(
                    state, status, step=live.folder.journal.last_step
                )
                if before is not None:
                    live.folder.checkpoints.delete(before.file)
        live.scores.rest()

    def save_state(self, summary: Mapping[str, Json] | None = None) -> None:
        """Write a checkpoint of the present state alone."""
        self._live.folder.save(self._live.learner.state(), self.status(summary))

    def status(self, summary: Mapping[str, Json] | None = None) -> RunStatus:
        """What a checkpoint of now keeps beside the state; the metrics table is written with it.

        Args:
            summary: The figures of the sitting; None: those of held-out sets that an earlier one took.
        """
        live = self._live
        with live.folder.saving():
            write_metrics(live.folder.path, live.scores.metrics_table())
        if summary is None:
            before = live.recovered.status.summary
            summary = {
                name: value for name, value in before.items() if name.startswith(("test_", "general_"))
            }
        return RunStatus(
            counts=live.scores.counts.model_copy(),
            seconds=self.seconds(),
            scores=live.scores.to_json(),
            summary=dict(summary),
        )

    def seconds(self) -> Seconds:
        """Time by kind of work, earlier sittings included."""
        before, now = self._seconds_before, self._live.fold.clock.seconds
        spent = {work: getattr(before, work) + seconds for work, seconds in now.items()}
        return Seconds(**spent, total=before.total + time.perf_counter() - self._started)

    def _drop_texts(self) -> None:
        """Drop what is not to be kept any longer; the checkpoint that was just written holds it.

        A learner that reads texts needs them once. Where it is to keep none, they are kept until a checkpoint
        holds what was learned from them: without them, nothing after the last one could be made again after a
        crash.
        """
        live, settings = self._live, self._live.config.run
        reads_text = live.learner.reads_text
        days = 0.0 if reads_text and settings.keep_text is False else settings.text_days
        if days is not None:
            with live.folder.saving():
                drop_old_texts(
                    live.folder.journal,
                    days,
                    live.folder.task.text_rule(),
                    only_learned=reads_text,
                    keep=self._needed_texts(),
                )
                # Where somebody reads the log it is emptied another time.
                live.folder.journal.empty_log(0)
