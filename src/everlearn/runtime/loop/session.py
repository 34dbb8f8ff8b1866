"""One sitting of a run over one stream: read, journal, make the step, save now and then."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from everlearn.config import RunConfig
from everlearn.errors import InputError, StorageError
from everlearn.journal.deletion.compaction import drop_old_texts
from everlearn.journal.records import (
    Arrival,
    Change,
    CheckpointRecord,
    JournaledPrediction,
    NewStep,
    Refused,
    Role,
    Step,
)
from everlearn.journal.standing.judged import was_judged_after
from everlearn.learning.run_learner import RunLearner, prediction_problem
from everlearn.runtime.fold.certificates import Issued, finish_deletions
from everlearn.runtime.fold.failed_steps import (
    UnmadeStepError,
    is_out_of_memory,
    may_be_of_an_example,
    out_of_memory,
)
from everlearn.runtime.fold.fold import Fold
from everlearn.runtime.fold.quarantine import find_unlearnable, require_sound
from everlearn.runtime.fold.recovery import Recovered, learned_before, recover, take_back
from everlearn.runtime.fold.work_clock import WorkClock
from everlearn.runtime.folder.field_names import note_field_names
from everlearn.runtime.folder.metrics_file import write_metrics
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.folder.run_record import SourceProgress
from everlearn.runtime.folder.text_rules import days_kept
from everlearn.runtime.folder.versions import add_version, latest_version
from everlearn.runtime.guard.guard import UNEXAMINED, Guard
from everlearn.runtime.guard.suspicion import role_of
from everlearn.runtime.loop.arrivals import DueQueue, Sorted, sort_arrivals
from everlearn.runtime.loop.experiences import Experiences
from everlearn.runtime.loop.step_attempt import StepAttempt
from everlearn.runtime.loop.stream_place import StreamPlace
from everlearn.runtime.loop.strict_reading import StrictReader
from everlearn.stream.rejections import is_duplicate, is_loss, unlearnable
from everlearn.stream.source import EndOfStream, Rejection, Source
from everlearn.tasks.batch_result import BatchResult, Observer
from everlearn.tasks.held_out import HeldOut
from everlearn.tasks.label_limit import LabelLimit
from everlearn.tasks.records import RunStatus, Seconds
from everlearn.tasks.scores import RunScores, Tested
from everlearn.tasks.table import task_of
from everlearn.types import Example, Json, Prediction

__all__ = ["BrokenStreamError", "LearnSession"]


class BrokenStreamError(InputError):
    """The stream ends in something that cannot be read."""


class LearnSession:
    """Brings a run to its newest step, feeds it batches, and saves it.

    Args:
        folder: The run folder, open for writing.
        config: Settings of this sitting.
        learner: A fresh learner.
        source: The stream.
        key: What identifies the stream in the run's journal.
        started: ``time.perf_counter()`` at the beginning of the command.
        held_out: Is scored at the end of each experience.
        observers: Look at every new step beside the run's own.

    Attributes:
        place: Where the run is in the stream.
        recovered: How the state was brought back.
        issued: Certificates of deletions that a crash had interrupted.
        num_records: Records of this sitting, usable or not.
        num_lost: Those of them that were to be learned and cannot be: all but repeated and deleted ones.
        num_rejected: Records of this sitting that gave no example, those of taken ids left out.
        num_duplicates: Records of this sitting whose id was taken before.
        num_unlearnable: Examples of this sitting, or that waited for it, that could not be learned.
        num_changes: Targets of this sitting for examples taken before.
        first_rejection: The first of the rejected.

    Raises:
        StateError: The journal is damaged, or no saved state fits it and it cannot be folded.
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
        held_out: HeldOut | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        self.folder = folder
        self.config = config
        self.task = task_of(config)
        self.learner = learner
        self.source = source
        self.held_out = held_out
        self._journal = folder.journal
        self._started = started
        self._is_live = False
        self._new_observers = tuple(observers)
        with folder.saving():
            note_field_names(folder.journal, config.stream)
        self.place = StreamPlace(folder, config, source, key)
        feed = self.place.experiences
        self._experiences = None if feed is None else Experiences(feed, config.stream.order, held_out)
        self.scores, self.fold = self._new_fold(WorkClock())
        self.recovered = self._first_recovery()
        self._seconds_before = self.recovered.status.seconds
        self._is_live = True
        self.issued: Issued = finish_deletions(folder, self.learner, self._save_without_deleted)
        self._guard = Guard(folder, config.guard) if config.guard.enabled else None
        self._examined_at = time.monotonic()
        self._strict = StrictReader(self.place.feed) if config.stream.strict else None
        self._ngram_max = int((folder.record.learner.coder_config or {}).get("ngram_max", 2))
        self._max_labels = self.task.label_limit(config, folder.record.learner)
        self._keep_excerpts = learner.reads_text if config.run.keep_text is None else config.run.keep_text
        # What was journaled must be learned again after a crash: see ``days_kept``.
        self._keep_text = learner.reads_text or self._keep_excerpts
        self.num_rejected = self.num_duplicates = self.num_changes = self.num_records = self.num_lost = 0
        self.num_unlearnable = 0
        self.first_rejection: Rejection | None = None
        self._saved_step = self.recovered.checkpoint_step
        self._saved_at = time.monotonic()
        self._saved: CheckpointRecord | None = None
        self._between: CheckpointRecord | None = None
        self._judge_undecided()
        self._queue = self._open_queue()
        self._first_step = self._journal.last_step
        self._first_offset = self._journal.next_offset

    def _new_fold(self, clock: WorkClock) -> tuple[RunScores, Fold]:
        scores = self.task.scores(self.config)
        observers = (scores, self._observe)
        return scores, Fold(
            self.learner, observers=observers, clock=clock, on_boundary=self._test_experiences
        )

    def _first_recovery(self) -> Recovered:
        try:
            try:
                return recover(self.folder, self.fold, self.scores)
            except UnmadeStepError as failed:
                take_back(self.folder, failed, self.config)
            return self._bring_back()
        except BaseException:
            self.close()  # nobody else has the session yet
            raise

    def _bring_back(self) -> Recovered:
        """Fold to the newest step again, with a fresh learner."""
        is_live, self._is_live = self._is_live, False
        try:
            self.learner = self.folder.fresh_learner(config=self.config)
            self.scores, self.fold = self._new_fold(self.fold.clock)
            return recover(self.folder, self.fold, self.scores)
        finally:
            self._is_live = is_live

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
        has_learned = self.scores.counts.learned or len(self._queue)
        return not (self.progress.examples and has_learned)

    @property
    def save_is_due(self) -> bool:
        """Whether the time between two checkpoints is over, and there is something to save."""
        if self.is_fruitless or self._journal.last_step == self._saved_step:
            return False
        return time.monotonic() - self._saved_at >= self.config.run.checkpoint_seconds

    def total(self) -> int | None:
        """Examples that the run will have taken when the stream is over, if that is known."""
        size = self.place.total()
        return None if size is None else size + self.scores.counts.examples - self.progress.examples

    def step(self) -> int:
        """Take one batch: journal it, learn it; returns the records read, usable or not.

        What waits for longer than this sitting's delay is learned first.

        Raises:
            EndOfStream: There is nothing more, and waiting examples were learned.
            BrokenStreamError: The stream cannot be read any further; all before is learned.
        """
        self._learn_waiting(self.config.stream.delay)
        try:
            batch = (self._strict or self.place.feed).next_batch(self.config.stream.batch_size)
        except EndOfStream:
            self._end(self.place.feed.take_rejected())
            raise
        except InputError as error:
            self._take((), self.place.feed.take_rejected())
            raise BrokenStreamError(str(error)) from error
        rejected = self.place.feed.take_rejected()
        if rejected and self._strict is not None:
            raise _unusable(rejected[0])
        if batch or rejected:
            self._take(batch, rejected)
        return len(batch) + len(rejected)

    def test(self) -> Tested | None:
        """Score the whole held-out set with everything learned; None without one."""
        if self.held_out is None:
            return None
        self.settle()
        with self.fold.clock.measure("evaluate"):
            return self.held_out.test(self.learner)

    def settle(self, *, goes_on: bool = False) -> None:
        """Let predictions use everything learned; journaled, as later predictions depend on it.

        Args:
            goes_on: More of the stream is to come. A language model then lets the tokens wait that do not
                fill a step, so that an interruption changes nothing of what it learns.
        """
        if not self.learner.is_settled and (self.learner.learns_at_once or not goes_on):
            self._make(NewStep(after={"settle": True}))

    def change_learning_rates(self, settings: Mapping[str, Any]) -> None:
        """Go on with the peak learning rates that settings give, if they are others; journaled.

        Args:
            settings: What was given, by dotted path.
        """
        given = {
            name: float(settings[path])
            for name in ("learning_rate", "head_learning_rate")
            if settings.get(path := f"learner.gradient.{name}") is not None
        }
        present = self.learner.learning_rates()
        changed = {name: rate for name, rate in given.items() if rate != present.get(name)}
        if changed:
            self._make(NewStep(after={"learning_rates": changed}))

    def save(self, summary: Mapping[str, Json] | None = None) -> None:
        """Write a checkpoint and the metrics table.

        Raises:
            StorageError: Writing failed; everything journaled is intact.
        """
        with self.fold.clock.measure("save"):
            self.folder.write_config(self.config)
            self._saved = self.folder.save(self.learner.state(), self._status(summary))
            self._drop_texts()
            self.folder.write_rejections()
        self._saved_at = time.monotonic()
        self._saved_step = self._journal.last_step
        self.scores.rest()

    def _save_between(self) -> None:
        """Write a checkpoint, so that the next example that cannot be learned brings few steps back.

        Only the newest of these stays, and takes the place of no other one.
        """
        before = self._between
        with self.fold.clock.measure("save"):
            state, status = self.learner.state(), self._status().model_dump(mode="json")
            with self.folder.saving():
                self._between = self.folder.checkpoints.save(state, status, step=self._journal.last_step)
                if before is not None:
                    self.folder.checkpoints.delete(before.file)
        self.scores.rest()

    def _drop_texts(self) -> None:
        """Drop what is not to be kept any longer; the checkpoint that was just written holds it."""
        reads_text = self.learner.reads_text
        days = days_kept(self.config, reads_text=reads_text)
        if days is not None:
            with self.folder.saving():
                drop_old_texts(
                    self._journal,
                    days,
                    self.task.text_rule(),
                    only_learned=reads_text,
                    keep=() if self._guard is None else self._guard.needed_texts(),
                )
                # Where somebody reads the log it is emptied another time.
                self._journal.empty_log(0)

    def _status(self, summary: Mapping[str, Json] | None = None) -> RunStatus:
        """What a checkpoint of now keeps beside the state; the metrics table is written with it."""
        with self.folder.saving():
            write_metrics(self.folder.path, self.scores.metrics_table())
        return RunStatus(
            counts=self.scores.counts.model_copy(),
            seconds=self.seconds(),
            scores=self.scores.to_json(),
            summary=dict(self._tested_before() if summary is None else summary),
        )

    def _tested_before(self) -> dict[str, Json]:
        """Figures of held-out sets that were taken at the end of an earlier sitting: the newest there are."""
        before = self.recovered.status.summary
        return {name: value for name, value in before.items() if name.startswith(("test_", "general_"))}

    def make_version(self, summary: Mapping[str, Json]) -> None:
        """Make a version of the checkpoint that was just written, unless its parent equals it."""
        assert self._saved is not None, "save first"
        if self._guard is not None:
            return  # only the guard makes versions
        if any(
            one.fingerprint == summary["fingerprint"] and one.file is not None
            for one in self.folder.history.versions()
            if one.version == latest_version(self.folder)
        ):
            return
        scores = {name: summary[name] for name in self.task.version_scores if summary.get(name) is not None}
        add_version(
            self.folder,
            file=self._saved.file,
            fingerprint=str(summary["fingerprint"]),
            num_examples=self.learner.num_examples,
            reason="end of a sitting",
            scores=scores,
            author="learn",
        )
        self.folder.prune()

    def guard_notes(self) -> list[str]:
        """What the guard decided in this sitting, and what is served, in sentences."""
        serving = self.folder.serving
        everything = self.folder.history.decisions()
        decisions = [one for one in everything if one.kind == "guard" and one.step > self._first_step]
        notes = [
            f"Refused, and steps {one.first_step:,} to {one.step:,} set aside (decision {one.decision}): "
            f"{one.reason}."
            for one in decisions
            if one.verdict == "rejected"
        ]
        if decisions:
            accepted = sum(one.verdict == "accepted" for one in decisions)
            notes.append(f"{accepted:,} of {len(decisions):,} candidates became versions.")
        if unexamined := sum(one.reason.startswith(UNEXAMINED) for one in decisions):
            notes.append(
                f"{unexamined:,} of them unexamined, as nothing was held back yet that has a text: a larger "
                "share (--guard-share) or fewer candidates (--guard-every) give the guard something to ask."
            )
        if serving is not None:
            last = next(
                (one for one in reversed(everything) if one.kind == "rollback" or one.verdict == "accepted"),
                None,
            )
            is_chosen = self._guard is None or (last is not None and last.kind == "rollback")
            kept = "a rollback keeps it" if is_chosen else "the guard accepted it"
            notes.append(f"Version {serving} is served: {kept}.")
        return notes

    def seconds(self) -> Seconds:
        """Time by kind of work, earlier sittings included."""
        before, now = self._seconds_before, self.fold.clock.seconds
        return Seconds(
            encode=before.encode + now["encode"],
            predict=before.predict + now["predict"],
            learn=before.learn + now["learn"],
            evaluate=before.evaluate + now["evaluate"],
            save=before.save + now["save"],
            total=before.total + time.perf_counter() - self._started,
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
        self.place.feed.close()

    def _take(
        self,
        batch: Sequence[Example],
        rejected: Sequence[Rejection],
        cursor: dict[str, Json] | None = None,
    ) -> None:
        examples = self.task.arriving(self.place.with_own_ids(batch))
        arrived = sort_arrivals(
            self._journal,
            examples,
            self.source.name,
            self.progress.examples + 1,
            self._ngram_max,
            learns_targets=self.task.learns_targets,
            problem_of=self.learner.reading_problem,
            labels=self._labels_for(len(batch)),
            needs_text=self.learner.reads_text,
        )
        unusable = self._first_unusable(arrived)
        if self._strict is not None and unusable is not None:
            index, rejection = unusable
            if index:
                self._take(batch[:index], rejected, self._strict.cursor_before(index))
            raise _unusable(rejection)
        prepared = self.fold.prepare(arrived.fresh)
        predictions = self.fold.predict(prepared) if prepared else []
        problems = {k: problem for k, one in enumerate(predictions) if (problem := prediction_problem(one))}
        if problems:
            require_sound(
                self.learner, learned_before(self._journal, self.learner, self._journal.last_step + 1)
            )
            nothing = Prediction(None, (), np.zeros(0))
            predictions = [nothing if k in problems else one for k, one in enumerate(predictions)]
        first = self._journal.next_offset
        arrivals, flags = [], []
        for k, (example, prediction) in enumerate(zip(prepared, predictions, strict=True)):
            group = self.task.group_of(example)
            role, flag = role_of(example, prediction, self.config.guard, group=group)
            if k in problems:
                role, flag = "learn", None  # to be left out, as soon as it is journaled
            arrivals.append(Arrival(example, role, JournaledPrediction.of(prediction, example.target)))
            if flag is not None:
                flags.append(replace(flag, offset=first + k))
        due, learned = self._queue.push(
            [
                (first + k, one.example)
                for k, one in enumerate(arrivals)
                if one.role == "learn" and k not in problems
            ],
            first + len(arrivals) - 1,
        )
        # With the batch's own examples in the queue, for which it may bring other targets.
        roles: dict[int, Role] = {
            first + k: "quarantined" if k in problems else one.role for k, one in enumerate(arrivals)
        }
        changes = self._with_queue(arrived.changes, roles)
        self.place.took(len(batch), cursor)
        self.num_changes += len(changes)
        refusals = [*rejected, *arrived.refused]
        self._count(refusals)
        self.num_records += len(batch) + len(rejected)
        self._make(
            NewStep(
                source=self.progress.key,
                progress=self.place.to_json(),
                arrivals=arrivals,
                learned=learned,
                changes=changes,
                refused=self._refused(refusals)
                + self._leave_out({prepared[k]: problem for k, problem in problems.items()}),
                flags=flags,
                # Where a batch is cut short the feed stands behind all of it.
                after=self._after_batch(len(arrivals), is_whole=cursor is None),
            ),
            due,
            predictions,
            {first + k: problem for k, problem in problems.items()},
        )

    def _labels_for(self, num_examples: int) -> LabelLimit | None:
        """What refuses labels in a batch; None where all of its labels have room whatever they are."""
        if self._max_labels is None:
            return None
        if len(self.scores.labels) + len(self._queue) + num_examples <= self._max_labels:
            return None
        return LabelLimit(self._max_labels, {*self.learner.labels, *self._queue.labels()})

    def _first_unusable(self, arrived: Sorted) -> tuple[int, Rejection] | None:
        """The first record that a strict run stops at, and where it is in the batch.

        What an earlier sitting has taken is passed over: files are read again. So is what was deleted, which
        nobody could mend.
        """
        if self._strict is None:
            return None
        for index, one in zip(arrived.refused_at, arrived.refused, strict=True):
            if is_duplicate(one):
                known = self._journal.known([one.id]) if one.id is not None else {}
                if one.id in known and known[one.id].offset < self._first_offset:
                    continue
            elif not is_loss(one):
                continue
            return index, one
        return None

    def _with_queue(self, changes: Sequence[Change], new_roles: Mapping[int, Role]) -> list[Change]:
        """Targets for examples that came before, or earlier in the same batch; waiting ones are changed."""
        result = []
        for change in changes:
            if new_roles.get(change.offset, "learn") != "learn":
                change = replace(change, kind="pending")  # it is not learned, so nothing is corrected
            if change.kind == "pending":
                self._queue.correct(change.offset, change.target)
            result.append(change)
        return result

    def _save_without_deleted(self) -> None:
        """Write a checkpoint of the state that was brought back, with the figures that it had."""
        self.folder.save(self.learner.state(), self._status(self.recovered.status.summary))

    def _judge_undecided(self) -> None:
        """Where a crash came between a candidate, the decision on it and what that brings back: go on."""
        last = self._journal.last_step
        if self._guard is None or not last:
            return
        if not self._guard.has_decided(last) and self._journal.step(last).after.get("examine"):
            self._examine()
        elif (verdict := self._guard.readmission_due) is not None:
            self._readmit(is_candidate=verdict == "rejected")

    def _examine(self) -> None:
        """Let the guard judge the present state."""
        assert self._guard is not None
        with self.fold.clock.measure("evaluate"):
            verdict = self._guard.consider(self.learner, self._status)
        self._examined_at = time.monotonic()
        if not verdict.is_accepted:
            self._bring_back()
            # Texts are dropped once a state holds them, and the states since the last version are gone.
            self.folder.save(self.learner.state(), self._status())
        if verdict.readmits:  # of a rejected interval this is a candidate too
            self._readmit(is_candidate=not verdict.is_accepted)
        if not verdict.is_accepted:
            self.save()  # texts are dropped by now, as nothing more of them comes back at once
        self.scores.rest()

    def _readmit(self, *, is_candidate: bool) -> None:
        """Learn again what was set aside and proved right, batch by batch; what cannot be is left out."""
        assert self._guard is not None
        changes, size = self._guard.readmissions(), self.config.stream.batch_size
        parts = [changes[start : start + size] for start in range(0, len(changes), size)]
        for number, part in enumerate(parts, start=1):
            examine = is_candidate and number == len(parts)
            self._make(NewStep(changes=part, after={"settle": True, "examine": True} if examine else {}))
        self._guard.end_readmission()

    def _examine_is_due(self, num_arrived: int) -> bool:
        # A sitting that comes to nothing is undone, which a judgement could not be.
        if self._guard is None or not self.progress.examples or not self.scores.counts.learned:
            return False
        settings = self.config.guard
        is_time = settings.seconds is not None and time.monotonic() - self._examined_at >= settings.seconds
        return is_time or self._guard.num_unexamined + num_arrived >= settings.every

    def _end(self, rejected: Sequence[Rejection]) -> None:
        """Learn what still waits, and note that the stream is finished."""
        self._learn_waiting()
        self._count(rejected)
        self.num_records += len(rejected)
        examine = self._guard is not None and not self.is_fruitless and self._guard.has_unexamined
        if rejected or examine or not self.progress.finished:
            self.place.finish()
            self._make(
                NewStep(
                    after={"settle": True, "examine": True} if examine else {},
                    source=self.progress.key,
                    progress=self.place.to_json(),
                    refused=self._refused(rejected),
                )
            )

    def _learn_waiting(self, stay: int = 0) -> None:
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
        """Journal a step, then make it; what of it cannot be learned is left out, and said."""
        attempt = first = StepAttempt(new, due, unlearnable or {})
        while True:
            with self.fold.clock.measure("save"), self.folder.saving():
                step = attempt.journal(self._journal, keep_text=self._keep_text)
            try:
                if attempt.changes_the_past:
                    self._bring_back()
                else:
                    self.fold.make(attempt.fold_step(self._journal, step), predictions)
                break
            except StorageError:
                raise
            except Exception as error:
                attempt = self._next_attempt(attempt, step, error)
        if new.after.get("examine"):
            self._examine()
        elif attempt is not first:
            self._save_between()

    def _next_attempt(self, failed: StepAttempt, step: Step, error: Exception) -> StepAttempt:
        """The same step without what cannot be learned of it.

        Raises:
            EverlearnError: It is not an example that is at fault, or none is left; the step is taken back out
                of the journal, as one that cannot be made could never be folded again.
        """
        learned = failed.fold_step(self._journal, step).learned
        with self.folder.saving():
            self._journal.rewind(step.step - 1)
        cause = error.error if isinstance(error, UnmadeStepError) else error
        if is_out_of_memory(cause):
            raise out_of_memory(cause, str(self.folder.path)) from error
        if not self.fold.was_learning or not may_be_of_an_example(cause):
            raise error
        if isinstance(error, UnmadeStepError) and error.step < step.step:
            raise error
        self._bring_back()
        # What waits may hold what was left out, which counts again, as the step was taken back.
        waiting = [one for offset, one in self._waiting() if offset not in failed.unlearnable]
        candidates = {one.id: one for one in [*waiting, *learned]}
        control = learned_before(self._journal, self.learner, step.step)
        found = (
            find_unlearnable(self.learner, list(candidates.values()), control, cause) if candidates else {}
        )
        if not found:
            raise error
        refused = self._leave_out({candidates[id_]: reason for id_, reason in found.items()})
        return failed.without(found, refused, self._journal, not self.learner.learns_at_once)

    def _leave_out(self, reasons: Mapping[Example, str]) -> list[Refused]:
        """Count examples that cannot be learned, and tell of them; a strict run stops here."""
        rejections = [unlearnable(self.source.name, one, reason) for one, reason in reasons.items()]
        if self.config.stream.strict and rejections:
            raise InputError(
                f"{rejections[0].place}: {rejections[0].reason}. Go on with --no-strict, which leaves it "
                f"out, or take it out: everlearn forget {self.folder.path} --id ID"
            )
        self._count(rejections)
        self.num_unlearnable += len(rejections)
        return self._refused(rejections)

    def _waiting(self) -> list[tuple[int, Example]]:
        """Offsets and examples that wait within the learner, not to be learned before there is enough."""
        ids = self.learner.waiting_ids()
        known = self._journal.known(ids)
        offsets = [known[id_].offset for id_ in ids if id_ in known]
        found = [(offset, self._journal.example_at(offset)) for offset in offsets]
        return [(offset, one) for offset, one in found if one is not None and one.text is not None]

    def _after_batch(self, num_arrived: int, *, is_whole: bool) -> dict[str, Json]:
        ended = {}
        if self._experiences is not None and is_whole:
            ended = self._experiences.ended(self.scores.counts.examples + num_arrived)
        examined = {"settle": True, "examine": True} if self._examine_is_due(num_arrived) else {}
        return ended | examined

    def _test_experiences(self, boundary: Mapping[str, Any]) -> None:
        if self._experiences is not None:
            self._experiences.test(self.learner, self.scores, self.fold.clock, boundary)

    def _observe(self, result: BatchResult) -> None:
        if self._is_live and result.report is not None and result.report.skipped is not None:
            step = self._journal.last_step
            with self.folder.saving():
                self.folder.history.decide(
                    step=step,
                    first_step=step,
                    kind="skipped-step",
                    verdict="skipped",
                    reason=result.report.skipped,
                    numbers={"loss": result.report.loss, "gradient_norm": result.report.gradient_norm},
                )
        # Who looks from outside was told of the journaled steps when they were made.
        if self._is_live:
            for observer in self._new_observers:
                observer(result)

    def _open_queue(self) -> DueQueue:
        learned_up_to = self._journal.last_learned_in_turn
        waiting = self._journal.unlearned_since(learned_up_to + 1)
        return DueQueue(self.config.stream.delay, waiting, learned_up_to)

    def _refused(self, rejections: Sequence[Rejection]) -> list[Refused]:
        """What is journaled of records that gave no example.

        A record with an id was understood: how it begins is somebody's text, kept only where texts are.
        """
        return [
            Refused(
                one.place, one.reason, one.excerpt if one.id is None or self._keep_excerpts else "", one.id
            )
            for one in rejections
        ]

    def _count(self, rejections: Sequence[Rejection]) -> None:
        real = [one for one in rejections if not is_duplicate(one)]
        self.num_rejected += len(real)
        self.num_lost += sum(map(is_loss, real))
        self.num_duplicates += len(rejections) - len(real)
        if self.first_rejection is None and real:
            self.first_rejection = real[0]


def _unusable(rejection: Rejection) -> BrokenStreamError:
    return BrokenStreamError(
        f"{rejection.place}: {rejection.reason}; mend the record, or pass it over with --no-strict"
    )
