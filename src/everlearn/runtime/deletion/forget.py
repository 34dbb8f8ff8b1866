"""``forget``: take examples out of a run, with everything the run keeps of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from everlearn.errors import ConfigError, RunError
from everlearn.journal.checkpoints import Checkpoint
from everlearn.journal.deletion.deletion import first_step_of
from everlearn.journal.journal import Journal
from everlearn.journal.repair.losses import lost_steps
from everlearn.journal.rows.entries import ids_at
from everlearn.journal.standing.learnable import count_to_learn
from everlearn.runtime.deletion.deletion import Deletion
from everlearn.runtime.deletion.matching import offsets_of, offsets_where
from everlearn.runtime.fold.certificates import reissue_certificates
from everlearn.runtime.fold.live_run import LiveRun, recovered_run
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.outcomes import figures_of
from everlearn.types import Json

__all__ = ["ForgetOutcome", "ForgetPlan", "forget_in_run", "reissue_in_run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetPlan:
    """What a ``forget`` will take.

    Attributes:
        num_examples: Examples that will be deleted.
        num_folded_again: Examples that must be learned again for it; 0 where they are subtracted.
        from_step: The step of the checkpoint from which they are; 0: the beginning.
        seconds: About how long that takes, by the time that learning took so far.
        exact: Whether the state will equal that of a run which never saw the examples.
    """

    num_examples: int
    num_folded_again: int = 0
    from_step: int = 0
    seconds: float = 0.0
    exact: bool

    def to_json(self) -> dict[str, Json]:
        """As printed by ``forget --dry-run --json``."""
        return figures_of(self, num_examples="would_forget") | {"seconds": round(self.seconds, 1)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetOutcome:
    """What a ``forget`` did.

    Attributes:
        num_forgotten: Examples that are gone.
        unknown_ids: Ids asked for that the run does not hold.
        removed_labels: Labels that no remaining example carries.
        exact: Whether the state now equals that of a run which never saw the examples.
        fingerprint_before: Before.
        fingerprint_after: After.
        certificate: What was written of it; None where nothing was forgotten, or it is pending.
        num_pending: Certificates that are pending, as another process reads the journal; see
            ``reissue_in_run``.
        notes: What was found damaged on the way, in sentences.
    """

    num_forgotten: int
    unknown_ids: tuple[str, ...]
    removed_labels: tuple[str, ...]
    exact: bool
    fingerprint_before: str
    fingerprint_after: str
    certificate: Path | None = None
    num_pending: int = 0
    notes: Sequence[str] = ()

    def to_json(self) -> dict[str, Json]:
        """As printed by ``forget --json``."""
        figures = figures_of(self, without=("notes",), num_pending="certificates_pending")
        return figures | {"certificate": None if self.certificate is None else str(self.certificate)}


def forget_in_run(
    run: Path | LiveRun,
    *,
    ids: Sequence[str] = (),
    where: Sequence[tuple[str, str]] = (),
    approximate: bool = False,
    dry_run: bool = False,
    wait_seconds: float = 30.0,
    on_plan: Callable[[ForgetPlan], bool] = lambda _: True,
) -> ForgetOutcome:
    """Forget the examples with one of these ids, and (if given) with these values in these fields.

    They are taken out of the state, the journal, checkpoints and versions, and rejected when they come
    again. Scores of the past stay: they say how the stream was predicted when it came.

    A closed-form learner subtracts them. A gradient learner goes back to the last checkpoint before the
    first of them and learns everything after it again, without them. A language model's document goes with
    all the pieces that it came in.

    Args:
        run: The run folder; or a run that is open, whose learner is not the run's any more afterwards.
        ids: Ids; empty: any.
        where: (field, value) pairs, all of which must hold; see ``offsets_where``.
        approximate: Let a gradient learner only drop them from its memories: the weights keep what
            they learned.
        dry_run: Only plan.
        wait_seconds: How long to wait for processes that read the journal: while they do, what was deleted
            may lie in its write-ahead log, and the certificate stays pending.
        on_plan: Is told beforehand what it will take; returns False to leave everything as it is.

    Raises:
        ConfigError: Neither ids nor fields, or no record has such a field.
        RunError: The folder is in use or no run, or the texts that would be learned again were dropped.
        StateError: Something saved is damaged. Nothing was changed.
        StorageError: Saving failed; what is not deleted yet is as before.
    """
    if not ids and not where:
        raise ConfigError("say what to forget: ids (--id), or a field's value (--where field=value)")
    with recovered_run(run) as opened:
        folder, learner = opened.folder, opened.learner
        before, labels_before = learner.fingerprint(), learner.labels
        offsets = _chosen(folder, ids, where)
        found = set(ids_at(folder.journal, offsets))
        unknown = tuple(dict.fromkeys(id_ for id_ in ids if id_ not in found))
        notes = opened.notes
        for id_, when in folder.journal.deleted_ids.among(unknown).items():
            notes.append(f"{id_} was deleted on {when[:10]}.")
        if not dry_run and unknown and (count := _clean_rejections(folder, unknown)):
            notes.append(f"{count:,} rejected records named ids that no example has; they do no longer.")
        nothing = ForgetOutcome(
            num_forgotten=0,
            unknown_ids=unknown,
            removed_labels=(),
            exact=True,
            fingerprint_before=before,
            fingerprint_after=before,
            num_pending=opened.issued.num_pending,
            notes=notes,
        )
        if not offsets:
            return nothing
        plan, checkpoint = _plan(opened, offsets, approximate)
        if not on_plan(plan) or dry_run:
            return replace(nothing, exact=plan.exact, num_pending=0, notes=opened.notes)
        deletion = Deletion(opened, offsets, exact=plan.exact, before=before, wait_seconds=wait_seconds)
        learner = deletion.carry_out(checkpoint)
        notes += deletion.notes
        if deletion.num_tuned_before:
            notes.append(_trunk_note(folder.path, deletion.num_tuned_before))
        remaining = frozenset(learner.labels)
        return replace(
            nothing,
            num_forgotten=len(offsets),
            removed_labels=tuple(label for label in labels_before if label not in remaining),
            exact=plan.exact,
            fingerprint_after=learner.fingerprint(),
            certificate=deletion.certificate,
            num_pending=deletion.num_pending,
        )


def reissue_in_run(run: Path) -> tuple[list[Path], list[str], int]:
    """Issue certificates that are pending, and write those again whose files are missing.

    Returns:
        The files that were written, what else there is to tell, and how many are pending still.

    Raises:
        RunError: The folder is in use or no run.
        StateError: Something saved is damaged.
        StorageError: Saving failed.
    """
    with recovered_run(run) as opened:
        written = [*opened.issued.files.values(), *reissue_certificates(opened.folder)]
        return written, opened.notes, opened.issued.num_pending


def _chosen(folder: RunFolder, ids: Sequence[str], where: Sequence[tuple[str, str]]) -> list[int]:
    """Offsets of the examples that are meant, in order."""
    matching = offsets_where(folder, where) if where else []
    if not ids:
        return matching
    named = offsets_of(folder.journal, ids, folder.task)
    return sorted(set(named) & set(matching)) if where else named


def _clean_rejections(folder: RunFolder, ids: Sequence[str]) -> int:
    """Take ids that no example has out of what was rejected; returns rows deleted or changed."""
    journal = folder.journal
    deleted = journal.deleted_ids.among(ids)
    never_taken = [id_ for id_ in ids if id_ not in deleted]
    with folder.saving():
        count = journal.rejections.forget(never_taken) if never_taken else 0
        if deleted:
            count += journal.rejections.forget_deleted(journal.deleted_ids)
        if count:
            journal.empty_log()
    if count:
        folder.write_rejections()
    return count


def _trunk_note(run: Path, count: int) -> str:
    return (
        f"{count:,} of them were there when the trunk was tuned, and its weights may keep traces of them. "
        f"`everlearn consolidate {run} --from-scratch` tunes it again without them; `everlearn rollback` "
        "goes back behind the consolidation."
    )


def _plan(opened: LiveRun, offsets: Sequence[int], approximate: bool) -> tuple[ForgetPlan, Checkpoint | None]:
    """What it will take, and the checkpoint to fold again from (for learners that cannot subtract)."""
    folder, journal = opened.folder, opened.folder.journal
    _require_whole(journal, offsets)
    if not opened.learner.reads_text or approximate:
        return ForgetPlan(num_examples=len(offsets), exact=not opened.learner.reads_text), None
    checkpoint = folder.checkpoints.newest_before(first_step_of(journal, offsets))
    from_step = 0 if checkpoint is None else checkpoint.step
    lost = [step for step in lost_steps(journal) if step > from_step]
    if lost:
        raise RunError(
            f"to forget exactly, step {lost[0]:,} must be made again, but something that came with it was "
            "lost to damage. With --approximate the examples are only taken out of the journal and of "
            "replay; the weights keep what they learned."
        )
    count, without_text = count_to_learn(journal, from_step, set(offsets))
    if without_text:
        raise RunError(
            f"to forget exactly, {count:,} examples must be learned again, but the texts of {without_text:,} "
            "were dropped (--no-keep-text, or compaction). With --approximate they are only taken out of the "
            "journal and of replay; the weights keep what they learned."
        )
    status = opened.status(opened.learner)
    a_second = status.counts.learned / status.seconds.learn if status.seconds.learn else 0.0
    plan = ForgetPlan(
        num_examples=len(offsets),
        num_folded_again=count,
        from_step=from_step,
        seconds=count / a_second if a_second else 0.0,
        exact=True,
    )
    return plan, checkpoint


def _require_whole(journal: Journal, offsets: Sequence[int]) -> None:
    """Refuse to forget what cannot be subtracted, before anything is changed."""
    lost = set(lost_steps(journal))
    if not lost:
        return
    for offset in offsets:
        step = journal.examples.step_of(offset)
        if step in lost:
            raise RunError(
                f"example {next(ids_at(journal, [offset]))!r} came with step {step:,}, of which something "
                "was lost to damage: it cannot be taken out of the state. Learn into a new run without it."
            )
