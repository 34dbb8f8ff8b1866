"""One sitting of a run: it is brought to its newest step, takes batch after batch, and is saved.

```
for batch in stream:
    sorted = sort(batch)                      # new, a target for what is known, or rejected
    predictions = learner.predict(new)        # test
    step = journal.append(batch, …)           # durable first
    report = fold.make(step)                  # … then train; what cannot be learned is left out
    observers(predictions, report)            # read-only
    guard.consider(learner)                   # now and then: maybe a new version
```
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from everlearn.errors import InputError
from everlearn.journal.records import After, EndedExperience, NewStep
from everlearn.journal.standing.judged import was_judged_after
from everlearn.learning.run_learner import RunLearner
from everlearn.runtime.fold.live_run import LiveRun
from everlearn.runtime.folder.field_names import note_field_names
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.folder.run_record import SourceProgress
from everlearn.runtime.guard.guard import Guard
from everlearn.runtime.loop.arrivals import Sorted
from everlearn.runtime.loop.due_queue import DueQueue
from everlearn.runtime.loop.experiences import Experiences
from everlearn.runtime.loop.intake import Intake, Taken
from everlearn.runtime.loop.place import Place
from everlearn.runtime.loop.publishing import EXAMINED, Publishing
from everlearn.runtime.loop.rejections import SittingRejections
from everlearn.runtime.loop.saving import Saving
from everlearn.runtime.loop.steps import StepMaker
from everlearn.runtime.loop.strict_reading import StrictReader
from everlearn.settings import RunConfig
from everlearn.stream.rejections import is_duplicate, is_loss
from everlearn.stream.source import EndOfStream, Rejection
from everlearn.tasks.batch_result import Observer
from everlearn.tasks.held_out import HeldOut
from everlearn.tasks.scores import Tested
from everlearn.types import Cursor, Example, Json, Prediction

__all__ = ["BrokenStreamError", "FullError", "LearnSession"]


class BrokenStreamError(InputError):
    """The stream ends in something that cannot be read."""


class FullError(InputError):
    """The stream goes on, and the run holds as many examples as it may."""


class LearnSession:
    """Feeds a run batches.

    Args:
        folder: The run folder, open for writing.
        config: Settings of this sitting.
        learner: A fresh learner.
        place: Where the run is in what is to be learned; closed with the session.
        started: ``time.perf_counter()`` at the beginning of the command.
        held_out: Is scored at the end of each experience.
        observers: Look at every new step beside the run's own.

    Attributes:
        live: The state after the newest step.
        saving: Writes checkpoints of it.
        publishing: Makes versions of it.
        rejections: Records of this sitting that gave no example.
        num_changes: Targets of this sitting for examples taken before.
        labels_before: Those that were known when it began.

    Raises:
        StateError: The journal is damaged, or no saved state fits it and it cannot be folded.
        RunError: The stream changed since the run began on it.
    """

    def __init__(
        self,
        folder: RunFolder,
        config: RunConfig,
        learner: RunLearner,
        place: Place,
        started: float,
        held_out: HeldOut | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        self.folder = folder
        self.config = config
        self.place = place
        self.held_out = held_out
        self.num_changes = 0
        self._journal = folder.journal
        try:
            with folder.saving():
                note_field_names(folder.journal, config.stream)
            feed = place.experiences
            self._experiences = None if feed is None else Experiences(feed, config.stream.order, held_out)
            self._strict = StrictReader(place.feed, feed) if config.stream.strict and place.feed else None
            self.live = LiveRun(folder, config, learner, observers, self._test_experiences)
            guard = Guard(folder, config.guard) if config.guard.enabled else None
            self.saving = Saving(self.live, started, tuple if guard is None else guard.needed_texts)
            self.publishing = Publishing(self.live, guard, self.saving, self._make)
            keep_text = learner.reads_text if config.run.keep_text is None else config.run.keep_text
            self.rejections = SittingRejections(
                place.name,
                is_strict=config.stream.strict,
                keep_excerpts=keep_text,
                advice="Go on with --no-strict, which leaves it out, or take it out: everlearn forget "
                f"{folder.path} --id ID",
            )
            # What was journaled must be learned again after a crash: see ``Saving``.
            self._steps = StepMaker(self.live, self.rejections, keep_text=learner.reads_text or keep_text)
            # The checkpoint without what was deleted keeps the figures that were brought back.
            self.live.finish_deletions(lambda: self.saving.save_state(self.live.recovered.status.summary))
            self.publishing.judge_undecided()
            self._queue = DueQueue.of(folder.journal, config.stream.delay)
            self._intake = Intake(self.live, place.name, self._queue)
        except BaseException:
            self.close()  # nobody else has the session yet
            raise
        self.labels_before = frozenset(self.live.learner.labels)
        self._first_step = self._journal.last_step
        self._first_offset = self._journal.next_offset

    @property
    def is_first(self) -> bool:
        """Whether nothing came before this sitting."""
        return self._first_step == 0

    @property
    def progress(self) -> SourceProgress:
        """How far the run is in the stream."""
        return self.place.progress

    @property
    def is_fruitless(self) -> bool:
        """Whether the stream gave no example, or the run has learned none and waits for none.

        Such a sitting leaves nothing behind: the same stream can be read again, with other names of
        fields.
        """
        has_learned = self.live.scores.counts.learned or len(self._queue)
        return not (self.progress.examples and has_learned)

    def total(self) -> int | None:
        """Examples that the run will have taken when the stream is over, if that is known."""
        size = self.place.total()
        taken = self.live.scores.counts.examples
        return None if size is None else size + taken - self.progress.examples

    def step(self, max_examples: int | None = None) -> int:
        """Take the stream's next batch: journal it, learn it; returns the records read, usable or not.

        What waits for longer than this sitting's delay is learned first.

        Args:
            max_examples: Most that the run may hold; None: no bound.

        Raises:
            EndOfStream: There is nothing more, and waiting examples were learned.
            FullError: There is more, which is not taken.
            BrokenStreamError: The stream cannot be read any further; all before is learned.
        """
        assert self.place.feed is not None, "there is no stream; give it batches"
        self.learn_waiting(self.config.stream.delay)
        room = self.config.stream.batch_size
        if max_examples is not None:
            room = min(room, max_examples - self.live.learner.num_examples - len(self._queue))
        try:
            batch = (self._strict or self.place.feed).next_batch(max(1, room))
        except EndOfStream:
            self._end(self.place.feed.take_rejected())
            raise
        except InputError as error:
            self.take((), self.place.feed.take_rejected())
            raise BrokenStreamError(str(error)) from error
        if batch and room < 1:
            raise FullError(
                f"{self.folder.path} may hold {max_examples:,} examples, and does: what follows in "
                f"{self.place.name} was not taken. Forget others (everlearn forget) to make room"
            )
        rejected = self.place.feed.take_rejected()
        if rejected and self._strict is not None:
            raise _unusable(rejected[0])
        if batch or rejected:
            self.take(batch, rejected)
        return len(batch) + len(rejected)

    def take(
        self, batch: Sequence[Example], rejected: Sequence[Rejection] = (), cursor: Cursor | None = None
    ) -> tuple[Taken, Sorted]:
        """Take a batch: journal it, learn it; returns what was new of it, and what was not.

        Args:
            batch: Examples; those without text and code bring a target for one that is known.
            rejected: Records on the way that gave no example.
            cursor: Where the stream goes on; None: behind what was read.
        """
        examples = self.folder.task.arriving(self.place.with_own_ids(batch))
        arrived = self._intake.sort(examples, self.progress.examples + 1)
        self.rejections.newest = []
        unusable = self._first_unusable(arrived)
        if unusable is not None:
            index, rejection = unusable
            if index and self._strict is not None:  # a program gives its batch again, whole
                self.take(batch[:index], rejected, self._strict.cursor_before(index))
            raise _unusable(rejection)
        if rejected and self.config.stream.strict and self._strict is None:
            raise _unusable(rejected[0])
        taken = self._intake.take(arrived.fresh)
        due, learned = self._queue.push(taken.to_learn, taken.last_offset)
        # With the batch's own examples in the queue, for which it may bring other targets.
        changes = self._queue.take_targets(arrived.changes, taken.roles)
        self.place.took(len(batch), cursor)
        self.num_changes += len(changes)
        self.rejections.num_records += len(batch) + len(rejected)
        kept = self.rejections.take([*rejected, *arrived.rejected])
        self._make(
            NewStep(
                source=self.progress.key,
                progress=self.place.to_json(),
                arrivals=taken.arrivals,
                learned=learned,
                changes=changes,
                rejected=kept + self.rejections.leave_out(taken.reasons),
                flags=taken.flags,
                # Where a batch is cut short the feed stands behind all of it.
                after=self._after_batch(len(taken.arrivals), is_whole=cursor is None),
            ),
            due,
            taken.predictions,
            taken.unlearnable,
        )
        return taken, arrived

    def test(self) -> Tested | None:
        """Score the whole held-out set with everything learned; None without one."""
        if self.held_out is None:
            return None
        self.settle()
        with self.live.fold.clock.measure("evaluate"):
            return self.held_out.test(self.live.learner)

    def settle(self, *, goes_on: bool = False) -> None:
        """Let predictions use everything learned; journaled, as later predictions depend on it.

        Args:
            goes_on: More of the stream is to come. A learner that gathers for a step then lets wait what does
                not fill one, so that an interruption changes nothing of what it learns.
        """
        learner = self.live.learner
        if not learner.is_settled and (learner.learns_at_once or not goes_on):
            self._make(NewStep(after=After(settle=True)))

    def mark_boundary(self, name: str) -> None:
        """Let methods consolidate, as a part of the stream has ended; journaled."""
        taken = self.live.scores.counts.examples
        self._make(NewStep(after=After(boundary=EndedExperience(0, name, taken))))

    def change_learning_rates(self, settings: Mapping[str, Any]) -> None:
        """Go on with the peak learning rates of settings by dotted path, if they are others; journaled."""
        given = {
            name: float(settings[path])
            for name in ("learning_rate", "head_learning_rate")
            if settings.get(path := f"learner.gradient.{name}") is not None
        }
        present = self.live.learner.learning_rates()
        changed = {name: rate for name, rate in given.items() if rate != present.get(name, rate)}
        if changed:
            self._make(NewStep(after=After(learning_rates=changed)))

    def summary(self, *, fingerprint: str = "", tested: Tested | None = None) -> dict[str, Json]:
        """The run's figures of now."""
        return self.live.scores.summary(
            self.saving.seconds(),
            num_classes=len(self.live.learner.labels),
            fingerprint=fingerprint,
            tested=tested,
        )

    def undo(self) -> None:
        """Take everything of this sitting out of the journal.

        Nothing of it may have been judged: what is served, and what was set aside, do not come back.
        """
        assert not was_judged_after(self._journal, self._first_step), (
            "a sitting that a version was made in, or a candidate set aside, stays"
        )
        with self.folder.saving():
            self._journal.rewind(self._first_step)

    def close(self) -> None:
        """Let go of the stream."""
        self.place.close()

    def _first_unusable(self, arrived: Sorted) -> tuple[int, Rejection] | None:
        """The first record that a strict run stops at, and where it is in the batch.

        What an earlier sitting has taken is passed over: files are read again. So is what was deleted, which
        nobody could mend.
        """
        if not self.config.stream.strict:
            return None
        for index, rejection in zip(arrived.rejected_at, arrived.rejected, strict=True):
            if is_duplicate(rejection):
                known = self._journal.known([rejection.id]) if rejection.id is not None else {}
                if rejection.id in known and known[rejection.id].offset < self._first_offset:
                    continue
            elif not is_loss(rejection):
                continue
            return index, rejection
        return None

    def _end(self, rejected: Sequence[Rejection]) -> None:
        """Learn what still waits, and note that the stream is finished."""
        self.learn_waiting()
        self.rejections.num_records += len(rejected)
        kept = self.rejections.take(rejected)
        examine = not self.is_fruitless and self.publishing.has_unexamined
        if rejected or examine or not self.progress.finished:
            self.place.finish()
            self._make(
                NewStep(
                    after=EXAMINED if examine else After(),
                    source=self.progress.key,
                    progress=self.place.to_json(),
                    rejected=kept,
                )
            )

    def settle_all(self) -> None:
        """Learn what waits for its turn or for more, and let predictions use everything; journaled."""
        self.learn_waiting()
        self.settle()

    def learn_waiting(self, stay: int = 0) -> None:
        """Learn what waits for its turn, batch by batch, but for the newest ``stay`` examples."""
        while (surplus := len(self._queue) - stay) > 0:
            due, learned = self._queue.flush(min(self.config.stream.batch_size, surplus))
            self._make(NewStep(learned=learned), due)

    def _make(
        self,
        new: NewStep,
        due: Sequence[Example] = (),
        predictions: Sequence[Prediction] = (),
        unlearnable: Mapping[int, str] | None = None,
    ) -> None:
        """Journal a step and make it, and then what it makes due."""
        is_whole = self._steps.make(new, due, predictions, unlearnable)
        if new.after.examine:
            self.publishing.examine()
        elif not is_whole:
            self.saving.save_between()

    def _after_batch(self, num_arrived: int, *, is_whole: bool) -> After:
        after = After()
        if self._experiences is not None and is_whole:
            after = self._experiences.ended(self.live.scores.counts.examples + num_arrived)
        is_due = self.progress.examples > 0 and self.publishing.is_due(num_arrived)
        return replace(after, settle=True, examine=True) if is_due else after

    def _test_experiences(self, live: LiveRun, boundary: EndedExperience) -> None:
        if self._experiences is not None:
            self._experiences.test(live.learner, live.scores, live.fold.clock, boundary)


def _unusable(rejection: Rejection) -> BrokenStreamError:
    return BrokenStreamError(
        f"{rejection.place}: {rejection.reason}; mend the record, or pass it over with --no-strict"
    )
