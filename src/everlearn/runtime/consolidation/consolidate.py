"""``consolidate``: the slow phase. A tuned trunk, everything encoded again by it, the head folded anew.

```
adapter   = tune(trunk, texts, targets)                 hours perhaps; the run may go on learning beside it
codes     = encode(trunk + adapter, every text)         from here on under the run's lock
candidate = fold(step, initial state, journal with these codes)
candidate is adopted  iff  it is better at its own exam and the guard finds it not worse
```

An adopted candidate is a version like any other: ``rollback`` goes back behind it, to old codes and trunk.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from everlearn.errors import StateError
from everlearn.journal.durable_files import storage_errors
from everlearn.journal.records import After, NewStep
from everlearn.journal.standing.held import held_examples
from everlearn.learning.closed_form import ClosedFormLearner
from everlearn.learning.consolidation import ConsolidationConfig, EpochReport
from everlearn.models.encoder.coder import TextCoder
from everlearn.models.encoder.pool import ModelPool
from everlearn.models.storage.adapters import read_adapter
from everlearn.runtime.consolidation.own_exam import take_own_exam
from everlearn.runtime.consolidation.trunk_tuning import (
    TuningStoppedError,
    check_can_consolidate,
    check_history,
    tune_trunk_of,
)
from everlearn.runtime.fold.live_run import LiveRun, recovered_run
from everlearn.runtime.fold.refold import in_batches
from everlearn.runtime.folder.kept_adapters import keep_adapter
from everlearn.runtime.folder.rebuild_report import rebuild_report
from everlearn.runtime.folder.run_folder import CONSOLIDATION, RunFolder
from everlearn.runtime.folder.tuning_store import TuningRecord, TuningStore
from everlearn.runtime.folder.versions import add_version
from everlearn.runtime.guard.guard import Examination, Guard
from everlearn.runtime.interruption import StopFlag
from everlearn.runtime.listener import SILENT, Listener, Progress
from everlearn.runtime.outcomes import figures_of
from everlearn.runtime.threads import use_threads
from everlearn.tasks.classification.closed_form import learner_for_coder, require_closed_form
from everlearn.tasks.classification.recorded_coder import load_text_coder
from everlearn.types import Json

__all__ = ["ConsolidateOutcome", "consolidate_run"]

_STAGED = "staged_codes"
_ENCODED_AT_ONCE = 1_024


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsolidateOutcome:
    """What a ``consolidate`` came to.

    Attributes:
        is_adopted: Whether the run has a new trunk now.
        reason: Why, or why not.
        version: The version that was made; None: none.
        generation: Of the codes that count now; 0: those of the trunk as it came.
        num_tuned: Examples that the trunk was tuned on.
        epochs: A report for each epoch of the tuning.
        best_epoch: The one that was kept.
        numbers: The figures of the decision.
        seconds: Spent on ``tune``, ``encode`` and ``fold``; tuning in earlier sittings included.
        fingerprint_before: Of the learner before.
        fingerprint_after: Of the learner now.
        notes: What the user should know, in sentences.
    """

    is_adopted: bool
    reason: str
    version: int | None
    generation: int
    num_tuned: int
    epochs: Sequence[EpochReport]
    best_epoch: int
    numbers: dict[str, Json]
    seconds: dict[str, float]
    fingerprint_before: str
    fingerprint_after: str
    notes: Sequence[str] = ()

    def to_json(self) -> dict[str, Json]:
        """As printed by ``consolidate --json``."""
        return figures_of(self, without=("notes",), num_tuned="tuned_on") | {
            "epochs": [report.to_json() for report in self.epochs],
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
        }


def consolidate_run(
    run: Path,
    config: ConsolidationConfig | None = None,
    *,
    from_scratch: bool = False,
    threads: int | None = None,
    listener: Listener = SILENT,
    stop: StopFlag | None = None,
    on_epoch: Callable[[EpochReport], None] = lambda _: None,
) -> ConsolidateOutcome:
    """Tune a run's trunk on what it has learned, and adopt what comes of it if it is better.

    A consolidation that was interrupted goes on where it stood: after the last whole epoch, or with the
    texts that are not encoded yet.

    Args:
        run: The run folder. Another process may go on learning there while the trunk is tuned.
        config: Settings of the tuning.
        from_scratch: Start from the trunk as it came, not from the adapter of an earlier consolidation.
        threads: Processor threads; None: the run's setting.
        listener: Is told what happens.
        stop: Asks for a stop.
        on_epoch: Is told of each epoch.

    Raises:
        RunError: The run cannot be consolidated, is in use, or history changed while it was tuned.
        TuningStoppedError: A stop was asked for.
        StateError: Something saved is damaged.
        MissingExtraError: peft is not installed.
        StorageError: Saving failed; the run is as before.
    """
    config = config or ConsolidationConfig()
    stop = stop or StopFlag()
    epochs: list[EpochReport] = []

    def note_epoch(report: EpochReport) -> None:
        epochs.append(report)
        on_epoch(report)

    store = TuningStore(run / CONSOLIDATION)
    with RunFolder.open_to_read(run) as folder:
        use_threads(threads or folder.config.run.threads)
        check_can_consolidate(folder)
        listener.stage("loading the model")
        with store.locked():
            record = tune_trunk_of(
                folder, store, config, listener, from_scratch=from_scratch, stop=stop, on_epoch=note_epoch
            )
    with recovered_run(run) as opened:
        work = _Consolidation(opened, store, record, listener, stop)
        outcome = work.carry_out(epochs)
        rebuild_report(run)
    return outcome


@dataclass(frozen=True, slots=True, eq=False)
class _Candidate:
    """A head folded over the tuned trunk's codes, and what speaks for and against it."""

    learner: ClosedFormLearner
    coder: TextCoder
    generation: int
    reasons_for: str
    reasons_against: list[str]
    numbers: dict[str, Json]
    scores: dict[str, Json]


@dataclass(slots=True)
class _Consolidation:
    """The part under the lock: encode, fold, judge, adopt."""

    opened: LiveRun
    store: TuningStore
    record: TuningRecord
    listener: Listener
    stop: StopFlag
    seconds: dict[str, float] = field(default_factory=dict)

    def carry_out(self, epochs: Sequence[EpochReport]) -> ConsolidateOutcome:
        """Come to a decision, and to what it says."""
        folder = self.opened.folder
        check_can_consolidate(folder)
        check_history(folder, self.store, self.record)
        live = require_closed_form(self.opened.learner, str(folder.path))
        before = live.fingerprint()
        self.seconds["tune"] = sum(report.seconds for report in epochs)
        numbers: dict[str, Json] = {"tuned_on": self.record.num_tuned, "epoch": self.record.best_epoch}
        candidate = self._candidate(live) if self.record.best_epoch else None
        version = None
        if candidate is None:
            reason = "no epoch of the tuning was better at the exam than the trunk as it is"
        else:
            numbers |= candidate.numbers
            reason = "; ".join(candidate.reasons_against) or candidate.reasons_for
        if candidate is None or candidate.reasons_against:
            self._drop(reason, numbers)
        else:
            version = self._adopt(candidate, numbers)
            live = candidate.learner
        return ConsolidateOutcome(
            is_adopted=version is not None,
            reason=reason,
            version=version,
            generation=folder.journal.generation,
            num_tuned=self.record.num_tuned,
            epochs=epochs,
            best_epoch=self.record.best_epoch,
            numbers=numbers,
            seconds=self.seconds,
            fingerprint_before=before,
            fingerprint_after=live.fingerprint(),
            notes=[*self.opened.notes, *self._serving_notes(version)],
        )

    def _serving_notes(self, version: int | None) -> list[str]:
        serving = self.opened.folder.serving
        if version is None or serving in (None, version):
            return []
        return [
            f"Version {serving} is served still, as a rollback keeps it; `everlearn rollback` changes that."
        ]

    def _candidate(self, live: ClosedFormLearner) -> _Candidate:
        coder = self._coder()
        generation = self._encode(coder)
        learner = self._folded(coder, generation)
        self.listener.stage("examining the candidate")
        live_scores, its_scores = live.sample_scores(), learner.sample_scores()
        # A trunk that replaces a tuned one, to be rid of traces, need only be no worse.
        is_replacement = self.record.from_scratch and self.opened.folder.journal.generation > 0
        own, reasons = take_own_exam(
            live_scores, its_scores, self.opened.folder.config.guard, is_replacement=is_replacement
        )
        guarded = self._guarded(learner, generation)
        losses = {"live_log_loss": live_scores.log_loss, "candidate_log_loss": its_scores.log_loss}
        return _Candidate(
            learner=learner,
            coder=coder,
            generation=generation,
            reasons_for=(
                f"log loss goes from {live_scores.log_loss:.4f} to {its_scores.log_loss:.4f} on "
                f"{own.num_examples:,} examples that it was not tuned on"
            ),
            reasons_against=[*reasons, *guarded.reasons],
            numbers={"own": own.to_json() | losses, **guarded.numbers},
            scores=guarded.scores | {"exam_accuracy": own.candidate_accuracy},
        )

    def _coder(self) -> TextCoder:
        self.listener.stage("loading the tuned model")
        folder = self.opened.folder
        recorded = folder.record.learner.coder_config or {}
        return load_text_coder(folder.config.model, ModelPool(), recorded, self.store.adapter_folder)

    def _encode(self, coder: TextCoder) -> int:
        """Encode every text that is kept, beside the codes that count; returns the new generation."""
        self.listener.stage("encoding everything again")
        begun = time.perf_counter()
        folder, journal = self.opened.folder, self.opened.folder.journal
        generation = folder.generations.next
        staged = f"{generation} {read_adapter(self.store.adapter_folder).sha256()}"
        if journal.meta(_STAGED) != staged:  # not those of this adapter that an interruption has left
            with folder.saving(), journal.transaction():
                folder.generations.drop_codes(generation)
                journal.set_meta(_STAGED, staged)
        total = journal.next_offset - 1
        everything = journal.examples.arrivals(folder.generations.last_offset(generation) + 1, total)
        while batch := list(islice(everything, _ENCODED_AT_ONCE)):
            kept = [
                (offset, arrival.example.text)
                for offset, arrival in batch
                if arrival.example.text is not None
            ]
            if self.stop.requested:
                raise TuningStoppedError
            codes = coder.encode([text for _, text in kept])
            with folder.saving():
                folder.generations.write_codes(
                    generation, [(offset, code.dense) for (offset, _), code in zip(kept, codes, strict=True)]
                )
            self._tell(batch[-1][0], total, time.perf_counter() - begun)
        self.seconds["encode"] = time.perf_counter() - begun
        return generation

    def _folded(self, coder: TextCoder, generation: int) -> ClosedFormLearner:
        """A fresh learner over everything that the run holds, with the new codes."""
        self.listener.stage("folding the head again")
        begun = time.perf_counter()
        folder = self.opened.folder
        candidate = learner_for_coder(folder.config, folder.record.learner, coder)
        total, done = self.opened.learner.num_examples, 0
        for batch in in_batches(held_examples(folder.journal, generation=generation)):
            if any(example.code is None for example in batch):
                with folder.saving():
                    folder.generations.drop_codes(generation)
                raise StateError(
                    f"codes that the tuned trunk has made are missing in {folder.path}; run the same command "
                    "again, and everything is encoded again"
                )
            candidate.learn(batch)
            done += len(batch)
            self._tell(done, total, time.perf_counter() - begun)
        candidate.settle()
        self.seconds["fold"] = time.perf_counter() - begun
        return candidate

    def _guarded(self, candidate: ClosedFormLearner, generation: int) -> Examination:
        folder = self.opened.folder
        if not folder.config.guard.enabled:
            return Examination(reasons=[], numbers={}, scores={})
        return Guard(folder, folder.config.guard).examine(candidate.frozen(), generation)

    def _drop(self, reason: str, numbers: dict[str, Json]) -> None:
        folder = self.opened.folder
        with folder.saving(), folder.journal.transaction():
            folder.generations.drop_codes(folder.generations.next)
            folder.decide("consolidation", "rejected", reason, numbers, first_step=1)
        self.store.clear()

    def _adopt(self, candidate: _Candidate, numbers: dict[str, Json]) -> int:
        """Everything that counts changes in one transaction; returns the version's number."""
        folder, journal, history = self.opened.folder, self.opened.folder.journal, self.opened.folder.history
        learner, coder, generation = candidate.learner, candidate.coder, candidate.generation
        reason = candidate.reasons_for
        self._keep_adapter(generation)
        with folder.saving(), journal.transaction():
            last = journal.last_step
            folder.generations.add(
                step=last,
                coder_fingerprint=coder.fingerprint,
                coder_config=coder.config_json(),
                dense_size=coder.dense_size,
                detail={
                    "config": self.record.config,
                    "epoch": self.record.best_epoch,
                    "num_tuned": self.record.num_tuned,
                    "last_offset": self.record.last_offset,
                    "from_generation": 0 if self.record.from_scratch else self.record.generation,
                },
            )
            # No step that was made before is another one now: states of the old codes stay what they are.
            history.revise("consolidation", last + 1, last, reason, {"generation": generation})
            journal.generations.look_again()
            # A fold of the new codes from the beginning is settled here too, so that it predicts the same.
            journal.append(NewStep(after=After(settle=True)), keep_text=False)
            status = self.opened.status(learner)
            untested = {
                name: None if name.startswith("test_") else value for name, value in status.summary.items()
            }
            status = status.model_copy(update={"summary": untested})
            saved = folder.checkpoints.save(
                learner.state(), status.model_dump(mode="json"), step=journal.last_step
            )
            folder.decide("consolidation", "accepted", reason, numbers, first_step=1)
            version = add_version(
                folder,
                file=saved.file,
                fingerprint=learner.fingerprint(),
                num_examples=learner.num_examples,
                reason=reason,
                scores=candidate.scores,
                author="consolidate",
            )
            if folder.config.guard.enabled:
                folder.serve(version.version)
        self.store.clear()
        folder.prune()
        return version.version

    def _keep_adapter(self, generation: int) -> None:
        folder = self.opened.folder
        target = folder.adapter_folder(generation)
        assert target is not None, "a new generation is above 0"
        with storage_errors(folder.path, "Nothing of the run was changed."):
            keep_adapter(self.store.adapter_folder, target)

    def _tell(self, done: int, total: int, seconds: float) -> None:
        self.listener.progress(
            Progress(
                examples=done,
                total=total,
                examples_per_second=done / max(seconds, 1e-9),
                num_classes=len(self.opened.learner.labels),
            )
        )
