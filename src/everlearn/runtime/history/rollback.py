"""``rollback``: serve an earlier version again, at once, and learn on from there or from the head."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from everlearn.errors import RunError, StateError
from everlearn.journal.history_records import Version
from everlearn.journal.standing.set_aside import num_held_since, num_taken_back
from everlearn.runtime.fold.live_run import LiveRun
from everlearn.runtime.fold.refold import refolded
from everlearn.runtime.fold.rewritten_versions import write_again
from everlearn.runtime.folder.rebuild_report import rebuild_report
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.folder.versions import continue_from, newest_examined, servable_versions
from everlearn.runtime.outcomes import figures_of
from everlearn.types import Json

__all__ = ["RollbackOutcome", "num_to_set_aside", "rollback_run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackOutcome:
    """What a ``rollback`` did.

    Attributes:
        version: What is served now; None: the newest state is.
        num_set_aside: Steps that no longer count.
        num_examples: Examples that were learned in them, or learned with another target.
        fingerprint: Of what is served.
    """

    version: int | None
    num_set_aside: int
    num_examples: int
    fingerprint: str

    def to_json(self) -> dict[str, Json]:
        """As printed by ``rollback --json``."""
        return figures_of(
            self, version="serving", num_set_aside="steps_set_aside", num_examples="examples_set_aside"
        )


def rollback_run(
    run: Path | RunFolder, version: int | None, *, keep_learned: bool = False, reason: str = "on request"
) -> RollbackOutcome:
    """Serve a version at once.

    With a guard, nothing that was not examined is ever served, unless somebody names it: the head is the
    version that was accepted last, and what was learned since stays in the interval that is judged next.

    What counts changes in one transaction, under one lock. A crash after it leaves the run as it is meant to
    be, but for the checkpoint and the report, which the next command makes up for.

    Args:
        run: The run folder, or a run that is open for writing.
        version: The version; None: the head again, after a rollback that kept what was learned.
        keep_learned: Learning goes on from the newest state; only serving goes back. Otherwise everything
            learned after the version is set aside, and learning goes on from there.
        reason: Recorded.

    Raises:
        RunError: There is no such version, it is retired, or it lies beyond another rollback.
        StateError: Its checkpoint is damaged, and cannot be folded again from the journal.
    """
    if isinstance(run, RunFolder):
        return _roll_back(run, version, keep_learned, reason)
    with RunFolder.open_to_write(run) as folder:
        return _roll_back(folder, version, keep_learned, reason)


def num_to_set_aside(run: Path, version: int) -> int:
    """How many examples a rollback to a version would set aside now, see ``RollbackOutcome.num_examples``.

    Raises:
        RunError: There is no such version, it is retired, or it lies beyond another rollback.
    """
    with RunFolder.snapshot_of(run) as folder:
        return num_held_since(folder.journal, _chosen(folder, version).step)


def _roll_back(folder: RunFolder, version: int | None, keep_learned: bool, reason: str) -> RollbackOutcome:
    if version is None:
        return _serve_head(folder, reason)
    chosen = _chosen(folder, version)
    chosen = _with_state(folder, chosen)  # verified before anything is changed
    steps: list[int] = []
    num_changed = 0
    with folder.saving(), folder.journal.transaction():
        last = folder.journal.last_step
        verdict = f"{'serves' if keep_learned else 'went back to'} version {version}"
        folder.decide("rollback", verdict, reason, {}, chosen.step + 1)
        generation = folder.checkpoints.generation_of(str(chosen.file))
        switches = generation != folder.journal.generation
        if not keep_learned and (last > chosen.step or switches):
            detail: dict[str, Json] = {"version": version}
            if switches:  # back behind a consolidation: its codes, and the trunk that made them
                detail["generation"] = generation
            revision = folder.history.revise("rollback", chosen.step + 1, last, reason, detail)
            steps = folder.history.set_aside(chosen.step + 1, last, revision)
            folder.journal.generations.look_again()
            num_changed = num_taken_back(folder.journal, revision)
        continue_from(folder, version)
        is_pinned = keep_learned or folder.config.guard.enabled
        folder.serve(version if is_pinned else None)
        # Where the run could not go on from there, nothing is changed.
        live = None if keep_learned else LiveRun(folder, takes_back=False)
    folder.remove_outdated()
    if live is not None:
        live.finish_deletions()
        live.save()
        rebuild_report(folder.path)
    return RollbackOutcome(
        version=version, num_set_aside=len(steps), num_examples=num_changed, fingerprint=chosen.fingerprint
    )


def _serve_head(folder: RunFolder, reason: str) -> RollbackOutcome:
    """Serve the newest state or, with a guard, the newest that was examined."""
    versions = servable_versions(folder)
    examined = newest_examined(versions) if folder.config.guard.enabled else None
    with folder.saving(), folder.journal.transaction():
        folder.serve(None if examined is None else examined.version)
        if versions:
            continue_from(folder, (examined or versions[-1]).version)
        what = "the newest state" if examined is None else f"version {examined.version}, the newest examined,"
        folder.decide("rollback", f"served {what} again", reason, {})
    fingerprint = _saved_head(folder) if examined is None else examined.fingerprint
    return RollbackOutcome(
        version=None if examined is None else examined.version,
        num_set_aside=0,
        num_examples=0,
        fingerprint=fingerprint,
    )


def _saved_head(folder: RunFolder) -> str:
    """The fingerprint of the newest state, which is saved if it was not: readers do not fold."""
    live = LiveRun(folder)
    live.finish_deletions()
    if folder.newest_checkpoint().step < folder.journal.last_step:
        live.save()
    return live.learner.fingerprint()


def _chosen(folder: RunFolder, number: int) -> Version:
    kept = ", ".join(str(servable.version) for servable in servable_versions(folder)) or "none"
    version = folder.history.version(number)
    if version is None:
        raise RunError(f"{folder.path} has no version {number}; those that can be served are: {kept}")
    if version.file is None:
        raise RunError(
            f"version {number} is retired ({version.reason}), so its state is gone; those that can be "
            f"served are: {kept}"
        )
    if not folder.history.is_current(version.step, version.revision):
        raise RunError(
            f"version {number} holds steps that a later rollback or quarantine has set aside; those that can "
            f"be served are: {kept}"
        )
    return version


def _with_state(folder: RunFolder, version: Version) -> Version:
    """The version with a saved state that is whole: folded again from the journal where it was damaged."""
    try:
        folder.checkpoints.load(str(version.file))
        return version
    except StateError as damage:
        generation = folder.checkpoints.generation_of(str(version.file))
        try:
            learner = refolded(folder, version, generation)
        except StateError:
            raise damage from None
        if learner.fingerprint() != version.fingerprint:
            raise
        learner.solve()
    with folder.saving(), folder.journal.transaction():
        return write_again(folder, version, learner, generation)
