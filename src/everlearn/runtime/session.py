"""One sitting of a run over one stream: the loop between a run folder's last save and its next."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from everlearn.config import RunConfig
from everlearn.errors import InputError
from everlearn.evaluation.matrix import AccuracyMatrix
from everlearn.evaluation.prequential import PrequentialScores
from everlearn.runtime.codes_store import CodesStore
from everlearn.runtime.feeds import ArrangedFeed, DirectFeed, Feed, head_of
from everlearn.runtime.held_out import HeldOut, score
from everlearn.runtime.id_registry import IdRegistry
from everlearn.runtime.learners import RunLearner, mark_boundary, settle
from everlearn.runtime.online_loop import BatchResult, Observer, OnlineLoop, WorkClock
from everlearn.runtime.rejections import RejectionLog, duplicate, is_duplicate
from everlearn.runtime.run_folder import RunFolder
from everlearn.runtime.run_record import Seconds, SourceProgress
from everlearn.runtime.run_scores import RunScores, read_metrics, write_metrics
from everlearn.runtime.run_settings import is_arranged, known_source
from everlearn.stream.lines import stem_of
from everlearn.stream.source import EndOfStream, Rejection, Source
from everlearn.types import Example

__all__ = ["BrokenStreamError", "LearnSession"]


class BrokenStreamError(InputError):
    """The stream ends in something that cannot be read."""


class LearnSession:
    """Restores a run, feeds it batches, and saves it.

    Args:
        folder: The run folder, open for writing.
        config: Settings of this sitting.
        learner: A fresh learner; the saved state is restored into it.
        source: The stream.
        key: What identifies the stream in the run's record.
        started: ``time.perf_counter()`` at the beginning of the command.
        observers: Look at every step beside the run's own.

    Attributes:
        num_rejected: Records of this sitting that gave no example, those of taken ids left out.
        num_duplicates: Records of this sitting whose id was taken before.
        first_rejection: The first of the former.

    Raises:
        StateError: The saved state is damaged.
        RunError: The stream changed since the run began on it.
    """

    def __init__(
        self,
        folder: RunFolder,
        config: RunConfig,
        learner: RunLearner,
        source: Source,
        key: str,
        started: float,
        observers: Sequence[Observer] = (),
    ) -> None:
        self.folder = folder
        self.config = config
        self.learner = learner
        self.source = source
        record = folder.record
        state = folder.load_state()
        if state is not None:
            learner.restore(state)
        self.scores = RunScores(record.counts.model_copy(), config.run.rolling_window, record.seconds.total)
        self.scores.restore(folder.load_scores(), read_metrics(folder.path) if record.generation else None)
        self.scores.labels.update(learner.labels)
        self.codes = CodesStore(folder.path, record.codes, record.learner, keep_text=config.run.keep_text)
        self.loop = OnlineLoop(
            learner,
            delay=config.stream.delay,
            observers=(self.scores, self._keep_codes, *observers),
            clock=WorkClock(),
        )
        self._restore_pending()
        self.num_rejected = 0
        self.num_duplicates = 0
        self.first_rejection: Rejection | None = None
        self._started = started
        self._seconds_before = record.seconds
        self._source_progress(key)
        with folder.saving():
            self._ids = IdRegistry(folder.path / "ids.sqlite", record.generation)
            self._rejected = RejectionLog(folder.path / "rejected.jsonl", record.rejected_bytes)
        self.feed: Feed = self._open_feed()
        self._saved_at = time.monotonic()

    @property
    def is_arranged(self) -> bool:
        """Whether the stream is read whole and ordered before it is learned."""
        return is_arranged(self.config)

    @property
    def is_fruitless(self) -> bool:
        """Whether the stream gave no example, or the run has learned none and waits for none.

        Such a sitting is not saved: the same stream can be read again, with other names of fields.
        """
        has_learned = self.scores.counts.learned or len(self.loop.pending)
        return not (self.progress.examples and has_learned)

    @property
    def save_is_due(self) -> bool:
        """Whether the time between two saves is over, and there is something to save."""
        if self.is_fruitless:
            return False
        return time.monotonic() - self._saved_at >= self.config.run.checkpoint_seconds

    def total(self) -> int | None:
        """Examples that the run will have taken when the stream is over, if that is known."""
        size = self.feed.total if isinstance(self.feed, ArrangedFeed) else self.source.count()
        return None if size is None else size + self.scores.counts.examples - self.progress.examples

    def step(self) -> int:
        """Take one batch through the loop; returns the records read, usable or not.

        Raises:
            EndOfStream: There is nothing more, and waiting examples were learned.
            BrokenStreamError: The stream cannot be read any further; all before is learned.
        """
        try:
            batch = self.feed.next_batch(self.config.stream.batch_size)
        except EndOfStream:
            self._reject(self.feed.take_rejected())
            self.loop.finish(self.config.stream.batch_size)
            self.progress.finished = True
            self.progress.cursor = self.feed.cursor()
            raise
        except InputError as error:
            self._reject(self.feed.take_rejected())
            self.progress.cursor = self.feed.cursor()
            raise BrokenStreamError(str(error)) from error
        rejected = self.feed.take_rejected()
        self._reject(rejected)
        fresh = self._without_duplicates(batch)
        if fresh:
            self.loop.step(fresh)
        self.progress.examples += len(batch)
        self.progress.cursor = self.feed.cursor()
        return len(batch) + len(rejected)

    def end_experience(self, held_out: HeldOut | None) -> None:
        """Where the last batch ended an experience: tell the learner, and test on all experiences."""
        index = self.feed.completed_experience()
        if index is None or not isinstance(self.feed, ArrangedFeed):
            return
        experiences = self.feed.experiences
        with self.loop.clock.measure("learn"):
            mark_boundary(self.learner, experiences[index].name, self.scores.counts.examples)
        if held_out is None:
            return
        with self.loop.clock.measure("evaluate"):
            held_out.prepare(self.learner)
            split = held_out.by_experience(experiences, self.config.stream.order)
        if split is None or len(experiences) < 2:
            return
        with self.loop.clock.measure("evaluate"):
            settle(self.learner)  # only to be measured, so its time is not the stream's
            names = [experience.name for experience in experiences]
            matrix = self.scores.matrix
            if matrix is None or list(matrix.experience_names) != names:
                matrix = self.scores.matrix = AccuracyMatrix(names)
            for on, examples in enumerate(split):
                accuracy = score(self.learner, examples).summary()["accuracy"]
                if accuracy is not None:
                    matrix.record(index, on, accuracy)
        self.scores.rest()

    def test(self, held_out: HeldOut) -> PrequentialScores:
        """Score the whole held-out set with everything learned."""
        with self.loop.clock.measure("learn"):
            settle(self.learner)
        with self.loop.clock.measure("evaluate"):
            held_out.prepare(self.learner)
            return held_out.scores(self.learner)

    def save(self, summary: dict[str, Any] | None = None) -> None:
        """Write everything, ``run.json`` last.

        Raises:
            StorageError: Writing failed; the save before is intact.
        """
        with self.loop.clock.measure("save"), self.folder.saving():
            record = self.folder.record
            generation = record.generation + 1
            codes = self.codes.flush()
            self._rejected.sync()
            self._ids.commit(generation)
            write_metrics(self.folder.path, self.scores.metrics.table())
            states = {"learner": self.learner.state()}
            if len(self.loop.pending):
                states["pending"] = self.loop.pending.state()
            record = record.model_copy(
                update={
                    "config": self.config.to_mapping(),
                    "counts": self.scores.counts.model_copy(),
                    "seconds": self.seconds(),
                    "codes": codes,
                    "sources": [one.model_copy() for one in self._sources],
                    "rejected_bytes": self._rejected.num_bytes,
                    "summary": summary or {},
                }
            )
            self.folder.commit(record, states, self.scores.to_json())
        self._saved_at = time.monotonic()
        self.scores.rest()

    def seconds(self) -> Seconds:
        """Time by kind of work, earlier sittings included."""
        before, now = self._seconds_before, self.loop.clock.seconds
        return Seconds(
            encode=before.encode + now["encode"],
            predict=before.predict + now["predict"],
            learn=before.learn + now["learn"],
            evaluate=before.evaluate + now["evaluate"],
            save=before.save + now["save"],
            total=before.total + time.perf_counter() - self._started,
        )

    def close(self) -> None:
        """Let go of files; what was not saved is given up."""
        self.codes.discard()
        self._ids.close()
        self.feed.close()

    def _source_progress(self, key: str) -> None:
        self._sources = [one.model_copy() for one in self.folder.record.sources]
        known = known_source(self._sources, key)
        if known is None:
            known = SourceProgress(key=key, head=head_of(key))
            if self.is_arranged:
                stream = self.config.stream
                known.arrangement = {
                    "order": stream.order,
                    "experiences": stream.experiences,
                    "seed": self.config.seed,
                }
            self._sources.append(known)
        self.progress = known

    def _open_feed(self) -> Feed:
        if not self.is_arranged:
            return DirectFeed(self.source, self.progress.cursor)
        feed = ArrangedFeed(
            self.source, self.config.stream, self.config.seed, self.progress.cursor, self.progress.digest
        )
        self.progress.digest = feed.digest
        return feed

    def _restore_pending(self) -> None:
        state = self.folder.load_state("pending")
        if state is not None:
            self.loop.pending.restore(state)
            self.loop.pending.delay = self.config.stream.delay

    def _keep_codes(self, result: BatchResult) -> None:
        self.codes.append(result.learned)

    def _without_duplicates(self, batch: Sequence[Example]) -> list[Example]:
        examples = self._with_own_ids(batch)
        with self.folder.saving():
            is_new = self._ids.claim(example.id for example in examples)
        fresh = [example for example, new in zip(examples, is_new, strict=True) if new]
        if len(fresh) < len(examples):
            first = self.progress.examples + 1
            self._reject(
                [
                    duplicate(self.source.name, first + offset, example)
                    for offset, (example, new) in enumerate(zip(examples, is_new, strict=True))
                    if not new
                ]
            )
        return fresh

    def _with_own_ids(self, batch: Sequence[Example]) -> Sequence[Example]:
        """Tell apart ids that two files of one name made up from their line numbers."""
        if len(self._sources) == 1:
            return batch
        prefix = f"{stem_of(Path(self.source.name))}:"
        made_up = [one.id.startswith(prefix) and one.id[len(prefix) :].isdecimal() for one in batch]
        if not any(made_up):
            return batch
        if not self.progress.id_suffix and any(
            self._ids.known(one.id for one, flag in zip(batch, made_up, strict=True) if flag)
        ):
            self.progress.id_suffix = f"@{len(self._sources)}"
        suffix = self.progress.id_suffix
        return [
            replace(one, id=one.id + suffix) if flag and suffix else one
            for one, flag in zip(batch, made_up, strict=True)
        ]

    def _reject(self, rejections: Sequence[Rejection]) -> None:
        if rejections:
            with self.folder.saving():
                self._rejected.append(rejections)
            self.scores.counts.rejected += len(rejections)
            real = [one for one in rejections if not is_duplicate(one)]
            self.num_rejected += len(real)
            self.num_duplicates += len(rejections) - len(real)
            if self.first_rejection is None and real:
                self.first_rejection = real[0]
