"""A run as one object: the way in for programs, services and commands."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import RLock
from typing import Any, Literal, Self, TypeVar

from everlearn.errors import ConfigError, InputError, RunError, StorageError
from everlearn.journal.acts import Act, AskedAct
from everlearn.journal.records import KnownExample
from everlearn.learning.run_learner import RunLearner
from everlearn.models.encoder.pool import ModelPool
from everlearn.runtime.deletion.forget import ForgetOutcome, forget_in_run
from everlearn.runtime.fold.failed_steps import is_out_of_memory, out_of_memory
from everlearn.runtime.fold.published import HeadPublisher
from everlearn.runtime.fold.served_learner import Served
from everlearn.runtime.folder.rebuild_report import rebuild_report
from everlearn.runtime.folder.run_folder import RunFolder, is_run_folder
from everlearn.runtime.folder.run_settings import settings_for
from everlearn.runtime.folder.stream_keys import PROGRAM
from everlearn.runtime.folder.useful_settings import check_useful
from everlearn.runtime.given import (
    given_examples,
    given_names,
    given_pairs,
    given_settings,
    given_targets,
    given_texts,
)
from everlearn.runtime.history.lineage import VersionList, list_versions
from everlearn.runtime.history.review import FlaggedExample, ReviewOutcome, flagged_examples, review_run
from everlearn.runtime.history.rollback import RollbackOutcome, rollback_run
from everlearn.runtime.loop.place import GivenPlace
from everlearn.runtime.loop.session import LearnSession
from everlearn.runtime.predictors import Predictors
from everlearn.runtime.step_outcome import StepOutcome, take_batch
from everlearn.settings import RunConfig
from everlearn.sharing.publication import OnNewParts
from everlearn.tasks.classification.closed_form import coder_of
from everlearn.tasks.origin import Origin
from everlearn.tasks.records import LearnerRecord, RunStatus
from everlearn.tasks.table import task_of
from everlearn.types import Example, Json, Prediction

__all__ = ["Held", "Run", "StepOutcome"]

Outcome = TypeVar("Outcome")

_OF_READING = frozenset({"model.name", "model.device"})


@dataclass(frozen=True, slots=True)
class Held:
    """What a run holds.

    Attributes:
        num_examples: Learned and not forgotten.
        num_labels: Of them.
        rolling_accuracy: Share of the newest predictions that were right, made before their examples were
            learned; None where nothing is right or wrong.
        learner: What the learner is.
    """

    num_examples: int
    num_labels: int
    rolling_accuracy: float | None
    learner: LearnerRecord


class Run:
    """A model that goes on learning in a folder. Open it with :meth:`open`, best in a ``with`` block.

    One process at a time has a run open for writing; any number may have it open for reading meanwhile.
    Methods may be called from any thread. What changes the run happens one after the other; predictions are
    made beside it, by a state that stays as it is until the next one takes its place. (Learners that train by
    gradients predict between two steps.)

    Nothing is printed, and nothing of the process is changed: threads, signals and the garbage collector are
    the program's.

    Attributes:
        path: The folder.
    """

    def __init__(self, folder: RunFolder, config: RunConfig, session: LearnSession | None) -> None:
        self.path = folder.path
        self._folder = folder
        self._config = config
        self._session = session
        self._lock = RLock()
        self._predictors = Predictors(folder, config, self._lock, self._reading)
        self._is_changing = False
        self._heads = HeadPublisher(folder)  # for other processes
        self._keeps_folder = True
        self._is_closed = False
        # A crash may have come between the newest step and its checkpoint.
        self._is_saved = session is None or not session.live.recovered.num_steps
        if session is not None:
            self._predictors.publish(session.live.learner)

    @classmethod
    def open(
        cls,
        path: str | Path,
        settings: Mapping[str, Any] | None = None,
        *,
        mode: Literal["write", "read"] = "write",
        models: ModelPool | None = None,
    ) -> Run:
        """Open a run; where there is none, ``mode="write"`` makes one.

        A run that was left by a crash is brought to the newest step of its journal, which holds every batch
        that ``learn`` has returned from.

        Args:
            path: The run folder.
            settings: By dotted path, as in ``{"task": "lm", "guard.enabled": True}``, or nested. A run
                keeps those that it was made with; others may be changed.
            mode: "read" predicts and looks, and leaves the folder to others.
            models: Gives encoders. Runs that are given the same one share them.

        Raises:
            ConfigError: A setting is wrong, of no use, or differs from one that the run keeps.
            RunError: The folder is in use, holds something else, or (to read) holds no run.
            StateError: Something saved is damaged.
            ModelError: The model cannot be loaded.
        """
        path, given = Path(path), given_settings(settings)
        if mode not in ("write", "read"):
            raise ConfigError(f"mode must be 'write' or 'read', not {mode!r}")
        if mode == "read":
            if useless := sorted(given.keys() - _OF_READING):
                raise ConfigError(f"{useless[0]} has no effect where a run is read; leave it out")
            folder = RunFolder.open_to_read(path)
            folder.models = models or folder.models
            return cls(folder, folder.config.with_settings(given), None)
        started, was_there = time.perf_counter(), path.exists()
        with ExitStack() as opened:
            existing = opened.enter_context(RunFolder.open_to_write(path)) if is_run_folder(path) else None
            config = settings_for(given, existing, PROGRAM)
            keeps_texts = existing is not None and existing.journal.examples.keep_texts
            check_useful(config, given, keeps_texts=keeps_texts)
            folder = existing or _made(path, config, models)
            folder.models = models or folder.models
            if existing is None:
                opened.callback(_remove, folder, is_kept=was_there)
            before, learner = folder.config, folder.learner_to_go_on(config)
            try:
                folder.write_config(config)  # whatever works with the run from here on goes by it
                session = _session(folder, config, learner, started)
                session.change_learning_rates(given)
                run = cls(folder, config, session)
            except BaseException:
                folder.write_config(before)
                raise
            run._keeps_folder = was_there
            opened.pop_all()  # from here on the folder is the run's to close
            return run

    @property
    def is_closed(self) -> bool:
        """Whether it was closed, by ``close`` or because it could not be brought back after a failure."""
        return self._is_closed

    # Predicting

    def predict(self, examples: Sequence[Example | str], *, version: int | None = None) -> list[Prediction]:
        """What the run says of examples or texts; nothing is learned, and nothing waits for learning.

        Without a guard it goes by everything that was learned; with one, or after a rollback that keeps a
        version, by the version that is served. A run that is open for reading predicts by what was saved
        last, with everything that it holds.

        Args:
            examples: What to predict.
            version: A version to ask in place of what is served.

        Raises:
            InputError: A text is empty.
            RunError: The run's predictions are no answers (language models), there is no such version, or
                (to read) nothing was saved yet.
        """
        self._folder.task.check_predicts(str(self.path))
        batch = given_texts(examples)
        return self.predictor(version).predict(batch)

    def predictor(self, version: int | None = None) -> Served:
        """What predicts now, or as a version. It goes on saying the same while the run learns, and after it.

        Raises:
            RunError: The run's predictions are no answers, there is no such version, or (to read) nothing was
                saved yet.
        """
        self._folder.task.check_predicts(str(self.path))
        return self._predictors.now() if version is None else self._predictors.of_version(version)

    def publish(self, on_new_parts: OnNewParts = lambda _: None) -> bool:
        """Write what predicts now to a file that other processes predict by, see ``everlearn.Hub``.

        It is withdrawn before the run changes. The run is open for writing.

        Args:
            on_new_parts: Is told the SHA-256s of large files that are new, and their bytes, before what
                predicts by them takes the place of the former: who reads may verify them meanwhile.

        Returns:
            False: what predicts is no file's to hold: it learns by gradients, or nothing was learned.

        Raises:
            StorageError: It cannot be written; nothing is published then.
        """
        with self._turn() as session:
            return self._heads.publish(session.live.learner, self.predictor(), on_new_parts)

    # Learning

    def learn(self, examples: Iterable[Example]) -> StepOutcome:
        """Predict and learn a batch, as one step; it is on the disk when this returns.

        An id that was taken before is rejected, unless it comes with another target: that is a correction. An
        example without text brings a target for one that came without. An empty text or id is rejected, an
        empty target is none.

        Raises:
            InputError: Something is no example; or it cannot be used, and ``stream.strict`` is set. The run
                is as before.
            ModelError: Training diverged; the run is as before.
            StorageError: The batch cannot be written; the run is as before.
        """
        batch = given_examples(examples)  # before its turn: who gives it may ask the run meanwhile
        return self._change(lambda session: take_batch(session, batch))

    def feedback(self, targets: Mapping[str, str]) -> StepOutcome:
        """Targets for examples that were taken before, by id, with a target or without.

        Raises:
            Everything that ``learn`` does.
        """
        return self.learn(Example(id=id_, target=target) for id_, target in given_targets(targets).items())

    def correct(self, targets: Mapping[str, str]) -> StepOutcome:
        """Other targets for examples that were learned, by id: what they had is taken back.

        Raises:
            InputError: The run has no example of an id; nothing was changed.
            Everything that ``learn`` does.
        """
        targets = given_targets(targets)
        with self._lock:
            known = self._writing().folder.journal.known(list(targets))
            unknown = next((id_ for id_ in targets if id_ not in known), None)
            if unknown is not None:
                raise InputError(f"{self.path} has no example {unknown!r} whose target could be corrected")
            return self.feedback(targets)

    def settle(self) -> StepOutcome:
        """Learn what waits (for its turn, or for more), and let predictions use everything; journaled."""
        return self._change(lambda session: _after(session, session.settle_all))

    def make_ready(self, *, encoder: bool = True) -> None:
        """Do now what the next example would have to wait for: seconds, where much was learned.

        Args:
            encoder: Load the encoder, too, which takes seconds where this process has not loaded one.

        Raises:
            ModelError: The run's model cannot be loaded.
            RunError: The model that can be loaded here is not the one that made the codes so far.
        """
        with self._turn() as session:
            learner = session.live.learner
            learner.make_ready()
        coder = coder_of(learner) if encoder else None
        if coder is not None:
            coder.text_coder().make_ready()

    def boundary(self, name: str) -> StepOutcome:
        """Say that a part of the stream has ended: continual-learning methods consolidate; journaled."""
        return self._change(lambda session: _after(session, lambda: session.mark_boundary(name)))

    def save(self) -> None:
        """Write a checkpoint, so that others can read the newest state and opening it is quick.

        One is written now and then anyway (``run.checkpoint_seconds``), and when the run is closed. This one
        is a version, unless a guard decides what becomes one.
        """
        with self._lock:
            session = self._writing()
            summary = session.summary(fingerprint=session.live.learner.fingerprint())
            session.saving.save(summary)
            session.publishing.end_sitting(summary)
            self._is_saved = True

    # History

    def forget(
        self,
        ids: Sequence[str] = (),
        *,
        where: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        approximate: bool = False,
    ) -> ForgetOutcome:
        """Take examples out of the run and of everything that it keeps; see the certificate.

        Args:
            ids: Ids; empty: any.
            where: Values by field, all of which must hold, as a mapping or in pairs.
            approximate: Let a learner that trains by gradients only drop them from its memories.

        Raises:
            ConfigError: Neither ids nor fields, or no record has such a field.
            RunError: The texts that would have to be learned again were dropped.
            StorageError: Saving failed; what is not deleted yet is as before.
        """
        ids, pairs = given_names(ids, "ids"), given_pairs(where)
        return self._rewrite(
            lambda session: forget_in_run(session.live, ids=ids, where=pairs, approximate=approximate)
        )

    def rollback(self, version: int | None, *, keep_learned: bool = False) -> RollbackOutcome:
        """Serve an earlier version at once, and learn on from there; None: the newest again.

        Args:
            version: Its number.
            keep_learned: Only serving goes back.

        Raises:
            RunError: There is no such version, it is retired, or it lies beyond another rollback.
        """
        return self._rewrite(
            lambda session: rollback_run(session.folder, version, keep_learned=keep_learned),
            of_the_folder=True,
        )

    def flagged(self, *, limit: int = 50) -> list[FlaggedExample]:
        """Suspicious examples on which nobody has decided, the most suspicious first."""
        with self._reading():
            return flagged_examples(self._folder, limit=limit)

    def review(
        self, *, accept: Sequence[str] = (), reject: Sequence[str] = (), readmit: int | None = None
    ) -> ReviewOutcome:
        """Decide on suspicious examples, or learn after all what a decision of the guard set aside.

        Args:
            accept: Ids whose targets are right; those that were held back are learned now.
            reject: Ids whose flags are settled.
            readmit: A decision that set an interval aside.

        Raises:
            ConfigError: Nothing to decide, or an id is both accepted and rejected.
            RunError: An id is not flagged, the decision set nothing aside, or something cannot be learned.
        """
        accept, reject = given_names(accept, "accept"), given_names(reject, "reject")
        return self._rewrite(
            lambda session: review_run(session.live, accept=accept, reject=reject, readmit=readmit)
        )

    def versions(self) -> VersionList:
        """All versions, what is served, and what was decided."""
        with self._reading():
            return list_versions(self._folder)

    def stats(self) -> dict[str, Json]:
        """The run's figures, by the names of ``learn --json``; to who reads, as they were saved last."""
        with self._reading():
            if self._session is not None:
                return self._session.summary()
            saved = RunStatus.model_validate(self._folder.newest_checkpoint().run).summary
            return {**saved, "fingerprint": ""}

    def held(self) -> Held:
        """How much is learned, and what by; the run is open for writing."""
        with self._lock:
            live, record = self._writing().live, self._folder.learner_record()
            learner, accuracy = live.learner, live.scores.rolling_accuracy
            return Held(learner.num_examples, len(learner.labels), accuracy, record)

    def known(self, ids: Sequence[str]) -> dict[str, KnownExample]:
        """What the journal knows of ids, as of now; those that it does not know are left out."""
        with self._reading():
            return self._folder.journal.known(given_names(ids, "ids"))

    def fingerprint(self) -> str:
        """SHA-256 (hex) of what was learned."""
        with self._lock:
            return self._writing().live.learner.fingerprint()

    def newest(self) -> tuple[int, str]:
        """The journal's newest step, and the fingerprint after it; something older may be served."""
        with self._lock:
            live = self._writing().live
            return live.folder.journal.last_step, live.learner.fingerprint()

    @contextmanager
    def noting(self, acts: Sequence[AskedAct]) -> Iterator[None]:
        """Note in the journal who does what within the block; others wait with their changes meanwhile.

        Args:
            acts: What is about to be done.
        """
        with self._lock, self._writing().folder.journal.acts.noting(acts):
            yield

    def acts(
        self,
        *,
        after: int | None = None,
        limit: int = 100,
        kind: str | None = None,
        author: str | None = None,
        newest_first: bool = False,
    ) -> list[Act]:
        """Who has changed the run: acts behind one, in order; see ``Acts.after``."""
        with self._reading():
            return self._folder.journal.acts.after(
                after, limit, kind=kind, author=author, newest_first=newest_first
            )

    def write_report(self) -> Path:
        """Save, write ``report.html``, and return its path."""
        self.save()
        return rebuild_report(self.path)

    def close(self) -> None:
        """Write a checkpoint of what is not saved, and let the folder go.

        A new folder in which nothing was learned goes, too. Called twice it does nothing.
        """
        with self._lock:
            if self._is_closed:
                return
            session, self._is_closed = self._session, True
            try:
                if session is not None and not self._is_saved:
                    session.saving.save(session.summary(fingerprint=session.live.learner.fingerprint()))
            finally:
                self._session = None
                self._predictors.withdraw()
                if session is not None:
                    session.close()
                if session is not None and not self._folder.journal.last_step:
                    _remove(self._folder, is_kept=self._keeps_folder)
                else:
                    self._folder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def _change(self, work: Callable[[LearnSession], StepOutcome]) -> StepOutcome:
        with self._turn() as session:
            self._heads.withdraw()
            before = self._newest_version()
            try:
                outcome = work(session)
            except BaseException as error:
                # The journal is as it was before; queue, place and learner are brought back to that.
                self._restart(error)
                if is_out_of_memory(error):
                    raise out_of_memory(error, str(self.path)) from error
                raise
            self._is_saved = False
            self._predictors.publish(session.live.learner)
            after = self._newest_version()
            return replace(
                outcome, version=after if after != before else None, notes=self._saved_if_due(session)
            )

    def _saved_if_due(self, session: LearnSession) -> list[str]:
        """Save where it is time to; what was learned is journaled, so failing to is no failure of a step."""
        if not session.saving.is_due:
            return []
        try:
            session.saving.save(session.summary(fingerprint=session.live.learner.fingerprint()))
        except StorageError as error:
            return [f"The batch is learned, but no checkpoint could be written: {error}"]
        self._is_saved = True
        return []

    def _rewrite(self, work: Callable[[LearnSession], Outcome], *, of_the_folder: bool = False) -> Outcome:
        """Change what came before; the run goes on from what is left.

        Args:
            work: Changes it.
            of_the_folder: It leaves the session's own learner alone.
        """
        with self._turn() as session:
            self._heads.remove()
            before = self._history()
            try:
                outcome = work(session)
            except ConfigError:
                raise  # nothing was begun
            except BaseException as error:
                if not (of_the_folder and self._history() == before):
                    self._restart(error)
                raise
            if self._history() != before:
                self._restart()
            return outcome

    @contextmanager
    def _turn(self) -> Iterator[LearnSession]:
        """The session, for one change at a time."""
        with self._lock:
            session = self._writing()
            if self._is_changing:
                raise RunError(f"{self.path} is being changed by the very call that asks for another change")
            self._is_changing = True
            try:
                yield session
            finally:
                self._is_changing = False

    def _restart(self, error: BaseException | None = None) -> None:
        """Bring the run to its journal's newest step again; where that fails it is closed.

        Args:
            error: Why it is needed; is told of a failure. None: a failure is raised.
        """
        assert self._session is not None, "only who writes changes anything"
        before = self._session
        before.close()
        self._session = None
        try:
            learner = self._folder.fresh_learner(config=self._config)
            self._session = _session(self._folder, self._config, learner, time.perf_counter())
            self._session.saving.go_on_from(before.saving)
            self._predictors.publish(self._session.live.learner, is_changed=True)
        except BaseException as failed:
            self._session = None  # never to be saved
            self.close()
            if error is None:
                raise
            error.add_note(f"The run could not be brought back after it, and is closed here: {failed}")

    def _history(self) -> tuple[object, ...]:
        """What a change of what came before changes."""
        journal, history = self._folder.journal, self._folder.history
        return (
            journal.last_step,
            history.last_revision,
            self._folder.serving,
            len(history.decisions()),
            self._folder.journal.flags.num_unresolved(),
        )

    def _newest_version(self) -> int | None:
        if not self._config.guard.enabled:
            return None
        return max((version.version for version in self._folder.history.versions()), default=None)

    def _writing(self) -> LearnSession:
        if self._session is None:
            how = "closed here; open it again" if self._is_closed else "not open for writing"
            raise RunError(f"{self.path} is {how}")
        return self._session

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._lock:
            if self._is_closed:
                raise RunError(f"{self.path} is closed here; open it again")
            if self._session is not None:
                yield
            else:  # another process may write
                with self._folder.snapshot():
                    yield


def _made(path: Path, config: RunConfig, models: ModelPool | None) -> RunFolder:
    """A new run folder for examples that a program gives."""
    origin = Origin(owner=str(path), models=models or ModelPool())
    _, record = task_of(config).new_learner(config, None, origin)
    folder = RunFolder.create(path, config, record)
    folder.models = origin.models  # what was loaded to find out what codes will look like
    return folder


def _remove(folder: RunFolder, *, is_kept: bool) -> None:
    """Delete a run in which nothing was learned; an empty folder that was there before stays."""
    folder.remove()
    if is_kept:
        folder.path.mkdir(exist_ok=True)


def _session(folder: RunFolder, config: RunConfig, learner: RunLearner, started: float) -> LearnSession:
    return LearnSession(folder, config, learner, GivenPlace(folder, config.stream.delay), started)


def _after(session: LearnSession, work: Callable[[], None]) -> StepOutcome:
    work()
    return StepOutcome(step=session.folder.journal.last_step)
