"""A deletion carried out: state, journal, checkpoints, versions, and a certificate of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from everlearn.journal.checkpoints import Checkpoint
from everlearn.journal.deletion.certificates import CertificateRecord
from everlearn.journal.deletion.deletion import delete_examples
from everlearn.journal.history_records import CheckpointRecord
from everlearn.journal.records import After, NewStep
from everlearn.journal.rows.entries import ids_at
from everlearn.journal.standing.held import held_examples
from everlearn.learning.run_learner import RunLearner
from everlearn.runtime.fold.certificates import CERTIFICATE_FORMAT, finish_deletions
from everlearn.runtime.fold.fold import Fold
from everlearn.runtime.fold.live_run import LiveRun
from everlearn.runtime.fold.refold import in_batches
from everlearn.runtime.fold.rewritten_versions import (
    VersionRewriter,
    expect_versions,
    fold_versions_again,
    kept_beside,
)
from everlearn.runtime.folder.versions import servable_versions
from everlearn.types import Json

__all__ = ["Deletion"]


class Deletion:
    """Deletes examples from a run.

    Args:
        opened: The run, under its lock, folded to its newest step.
        offsets: The examples.
        exact: Whether the state must become that of a run which never saw them.
        before: The learner's fingerprint.
        wait_seconds: How long to wait for processes that read the journal.

    Attributes:
        certificate: The file that tells of it, once it is carried out; None: it is pending.
        num_pending: How many certificates are.
        num_tuned_before: How many of the examples were there when the trunk that counts was tuned: its
            weights may keep traces of them.
        notes: What the user should know, in sentences.
    """

    def __init__(
        self, opened: LiveRun, offsets: Sequence[int], *, exact: bool, before: str, wait_seconds: float
    ) -> None:
        self._opened = opened
        self._offsets = offsets
        self._exact = exact
        self._before = before
        self._wait_seconds = wait_seconds
        self.certificate: Path | None = None
        self.notes: list[str] = []
        self.num_pending = 0
        generation = opened.folder.journal.generation
        adopted = {adoption.generation: adoption for adoption in opened.folder.generations.all()}
        last = int(adopted[generation].detail["last_offset"]) if generation else 0
        self.num_tuned_before = sum(offset <= last for offset in offsets)

    def carry_out(self, checkpoint: Checkpoint | None) -> RunLearner:
        """Delete; returns the learner without the examples.

        A crash on the way leaves a run that either holds the examples still, or does not and has its
        certificate pending; one whose learner cannot subtract is folded again without them.

        Args:
            checkpoint: Where a learner that cannot subtract folds again from; None: the beginning.
        """
        folder, journal = self._opened.folder, self._opened.folder.journal
        learner = self._opened.learner
        folds_again = learner.reads_text and self._exact
        rewriter = VersionRewriter(folder, self._offsets)
        newest = None
        self._opened.scores.forget(set(self._ids()))
        if not folds_again:
            newest = self._newest_without(learner)
            rewriter.prepare()
        versions = servable_versions(folder)
        beside = kept_beside(folder, versions, set(self._ids())) if folds_again else {}
        digests = [journal.deleted_ids.digest_of(id_) for id_ in self._ids()]
        with folder.saving(), journal.transaction():
            revision = delete_examples(
                journal,
                self._offsets,
                reason=f"{len(self._offsets):,} examples",
                detail={"exact": self._exact},
            )
            if folds_again:
                lost = {version.version for version in folder.history.versions() if version.file is None}
                expect_versions(folder, [version for version in versions if version.version in lost], beside)
            else:
                rewriter.adopt(revision)
            # Solved anew from what remains: later predictions must not hang on what was forgotten. Texts that
            # are learned again wait for the rest of their stream as they would have waited without it.
            step = journal.append(NewStep(after=After(settle=not learner.reads_text)), keep_text=False)
            if newest is not None:
                folder.history.add_checkpoint(replace(newest, revision=revision, chain=step.chain))
            journal.certificates.write(self._pending(revision, digests))
        if folds_again:
            learner = folder.fresh_learner()
            if checkpoint is not None:
                learner.restore(checkpoint.learner)
            fold_versions_again(folder, Fold(learner), 0 if checkpoint is None else checkpoint.step)
            self._save(learner)
        issued = finish_deletions(
            folder,
            learner,
            lambda: None,  # that of now was just written
            wait_seconds=self._wait_seconds,
        )
        self.certificate, self.num_pending = issued.files.get(revision), issued.num_pending
        self.notes += issued.notes
        return learner

    def _newest_without(self, learner: RunLearner) -> CheckpointRecord:
        """Take the examples out of the learner, and write its state: it counts with the deletion."""
        opened, journal = self._opened, self._opened.folder.journal
        for batch in in_batches(held_examples(journal, offsets=self._offsets)):
            learner.forget(batch)
        if learner.needs_resample:
            gone = frozenset(self._offsets)
            learner.resample(example for offset, example in held_examples(journal) if offset not in gone)
        learner.solve()
        opened.scores.counts.forgotten = opened.folder.history.num_forgotten() + len(self._offsets)
        with opened.folder.saving():
            return opened.folder.checkpoints.write(
                learner.state(),
                opened.status(learner).model_dump(mode="json"),
                step=journal.last_step + 1,
                revision=opened.folder.history.last_revision + 1,
                is_to_come=True,
            )

    def _save(self, learner: RunLearner) -> None:
        opened = self._opened
        opened.scores.counts.forgotten = opened.folder.history.num_forgotten()
        opened.folder.save(learner.state(), opened.status(learner))

    def _pending(self, revision: int, digests: Sequence[bytes]) -> CertificateRecord:
        """The certificate, but for the fingerprint of a state that is to be folded yet."""
        folder = self._opened.folder
        step = folder.journal.last_step
        value: dict[str, Json] = {
            "format": CERTIFICATE_FORMAT,
            "format_version": 1,
            "run": folder.path.name,
            "time": folder.journal.step(step).time,
            "revision": revision,
            "step": step,
            "num_deleted": len(self._offsets),
            "id_digests": sorted(digest.hex() for digest in digests),
            "exact": self._exact,
            "num_tuned_before": self.num_tuned_before,
            "fingerprint_before": self._before,
            "fingerprint_after": None,
        }
        return CertificateRecord(revision, value, is_issued=False)

    def _ids(self) -> Iterator[str]:
        return ids_at(self._opened.folder.journal, self._offsets)
