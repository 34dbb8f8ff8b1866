"""``review``: suspicious examples, and what was set aside, looked at and decided by somebody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from everlearn.errors import ConfigError, RunError, StorageError
from everlearn.journal.fold_steps import fold_step
from everlearn.journal.journal import Journal
from everlearn.journal.records import After, Change, NewStep
from everlearn.journal.rows.entries import entry_at
from everlearn.journal.standing.set_aside import set_aside_by
from everlearn.learning.run_learner import RunLearner
from everlearn.runtime.fold.failed_steps import is_out_of_memory, may_be_of_an_example, out_of_memory
from everlearn.runtime.fold.fold import Fold
from everlearn.runtime.fold.live_run import LiveRun, recovered_run
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.outcomes import figures_of
from everlearn.tasks.input import has_input
from everlearn.types import Json

__all__ = ["FlaggedExample", "ReviewOutcome", "flagged_examples", "review_run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FlaggedExample:
    """A suspicious example.

    Attributes:
        id: Its id.
        text: Its text, where it is kept.
        target: Its present target.
        predicted: The label that was predicted when it came.
        reason: Why it is suspicious.
        score: The confidence, or the outlier score.
        policy: What was done with it: "flag", "weigh" or "hold".
        is_learned: Whether the newest state holds it.
    """

    id: str
    text: str | None
    target: str | None
    predicted: str | None
    reason: str
    score: float
    policy: str
    is_learned: bool

    def to_json(self) -> dict[str, Json]:
        """As printed by ``review --json``."""
        return figures_of(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewOutcome:
    """What a review changed.

    Attributes:
        num_accepted: Flags that were accepted.
        num_left_out: Flags that were rejected, of examples that are not learned and stay so.
        still_learned: Ids of those that were rejected, but are learned all the same: only their flags are
            settled.
        num_learned: Examples that were learned for it.
        fingerprint: Of the newest state.
    """

    num_accepted: int
    num_left_out: int
    still_learned: tuple[str, ...]
    num_learned: int
    fingerprint: str

    def to_json(self) -> dict[str, Json]:
        """As printed by ``review --json``."""
        rejected = self.num_left_out + len(self.still_learned)
        return {"accepted": self.num_accepted, "rejected": rejected, **figures_of(self)}


def flagged_examples(run: Path | RunFolder, *, limit: int = 50) -> list[FlaggedExample]:
    """Suspicious examples on which nobody has decided, the most suspicious first."""
    with RunFolder.snapshot_of(run) as folder:
        journal = folder.journal
        found = []
        for flag in journal.flags.unresolved(limit):
            flagged = next(arrival for _, arrival in journal.examples.arrivals(flag.offset, flag.offset))
            target = journal.standings.present_target(flag.offset, flagged.example.target)
            standing = journal.standings.of(flag.offset, flagged.role, flagged.example.target)
            found.append(
                FlaggedExample(
                    id=flagged.example.id,
                    text=flagged.example.text,
                    target=target,
                    predicted=None if flagged.prediction is None else flagged.prediction.label,
                    reason=flag.reason,
                    score=flag.score,
                    policy=flag.policy,
                    is_learned=standing.is_held,
                )
            )
        return found


def review_run(
    run: Path | LiveRun, *, accept: Sequence[str] = (), reject: Sequence[str] = (), readmit: int | None = None
) -> ReviewOutcome:
    """Decide on suspicious examples, or learn after all what a decision of the guard set aside.

    Args:
        run: The run folder, or a run that is open.
        accept: Ids whose targets are right; those that were held back are learned now.
        reject: Ids whose flags are settled; those that were learned stay (``forget`` takes them out).
        readmit: A decision that set an interval aside: all of it is learned after all.

    Raises:
        ConfigError: Nothing to decide, or an id is both accepted and rejected.
        RunError: An id is not flagged, the decision set nothing aside, or what was decided cannot be learned
            (its text may have been dropped); nothing of the review counts then.
    """
    _require_choice(accept, reject, readmit)
    accept, reject = list(dict.fromkeys(accept)), list(dict.fromkeys(reject))
    with recovered_run(run) as opened:
        journal = opened.folder.journal
        flags = {id_: _flag(opened.folder, id_) for id_ in [*accept, *reject]}
        readmitted = {}
        for id_ in accept:
            change = _readmission(journal, flags[id_])
            if change is not None:
                _require_input(journal, opened.learner, change.offset)
                readmitted[change.offset] = change
        corrected = []
        if readmit is not None:
            for change in _set_aside_by(opened.folder, readmit):
                _require_input(journal, opened.learner, change.offset)
                if change.kind == "correction":
                    corrected.append(change)
                else:
                    readmitted[change.offset] = change
        # Apart, as a rejection of the guard leaves what was readmitted, but takes corrections back in the
        # order in which they were made.
        changes = [group for group in (corrected, [readmitted[k] for k in sorted(readmitted)]) if group]
        before, resolved = journal.last_step, {k: journal.flags.resolution(k) for k in flags.values()}
        with opened.folder.saving(), journal.transaction():
            for id_ in accept:
                journal.flags.resolve(flags[id_], "accepted")
            for id_ in reject:
                journal.flags.resolve(flags[id_], "rejected")
            steps = [
                journal.append(NewStep(changes=group, after=After(settle=True)), keep_text=False)
                for group in changes
            ]
            if readmit is not None:
                reason = f"decision {readmit} was overruled on request"
                numbers = {"examples": sum(map(len, changes))}
                opened.folder.decide("readmission", "readmitted", reason, numbers)
        if steps:
            fold = Fold(opened.learner, observers=(opened.scores,))
            try:
                for step in steps:
                    fold.make(fold_step(journal, step), ())
            except StorageError:
                raise
            except Exception as error:
                with opened.folder.saving(), journal.transaction():
                    journal.rewind(before)
                    for offset, value in resolved.items():
                        journal.flags.resolve(offset, value)
                if is_out_of_memory(error):
                    raise out_of_memory(error, str(opened.folder.path)) from error
                if not fold.was_learning or not may_be_of_an_example(error):
                    raise
                raise _not_learned(journal, changes, error) from error
            opened.save()
        still_learned = tuple(id_ for id_ in reject if not _is_out(journal, flags[id_]))
        return ReviewOutcome(
            num_accepted=len(accept),
            num_left_out=len(reject) - len(still_learned),
            still_learned=still_learned,
            num_learned=sum(map(len, changes)),
            fingerprint=opened.learner.fingerprint(),
        )


def _require_choice(accept: Sequence[str], reject: Sequence[str], readmit: int | None) -> None:
    if not accept and not reject and readmit is None:
        raise ConfigError("say what to decide: ids (--accept, --reject), or a decision (--readmit)")
    if both := sorted({*accept} & {*reject}):
        raise ConfigError(f"{both[0]!r} is both accepted and rejected; decide on one")


def _require_input(journal: Journal, learner: RunLearner, offset: int) -> None:
    """Make sure that an example can be learned, before that is journaled.

    Raises:
        RunError: Its text was dropped, or its code is of a trunk that does not count.
    """
    example = journal.examples.at(offset)
    assert example is not None, "it was looked up"
    if has_input(example, reads_text=learner.reads_text):
        return
    why = (
        "whose text was dropped (--no-keep-text, run.text_days or compaction)"
        if learner.reads_text
        else "which came with codes of a trunk that a rollback has taken back"
    )
    raise RunError(
        f"example {example.id!r}, {why}, cannot be learned any more: nothing was changed. `everlearn learn` "
        "takes it as a new example, with an id of its own"
    )


def _flag(folder: RunFolder, id_: str) -> int:
    offset = folder.journal.flags.offset_of(id_)
    if offset is None:
        raise RunError(f"{folder.path} has flagged no example with the id {id_!r}")
    return offset


def _readmission(journal: Journal, offset: int) -> Change | None:
    """What learns a flagged example; None where it is learned, or will be when its turn comes."""
    target = journal.standings.present_target(offset, entry_at(journal, offset).target)
    if target is None or not _is_out(journal, offset):
        return None
    return Change(offset, "readmitted", None, target)


def _is_out(journal: Journal, offset: int) -> bool:
    """Whether a flagged example is neither learned nor waiting for its turn."""
    entry = entry_at(journal, offset)
    return journal.standings.of(offset, entry.role, entry.target).is_out


def _not_learned(journal: Journal, changes: Sequence[Sequence[Change]], error: Exception) -> RunError:
    """What to tell where what somebody decided cannot be learned, and was taken back."""
    example = journal.examples.at(changes[0][0].offset)
    count = sum(map(len, changes))
    first = "" if example is None else f" {example.id!r}"
    which = f"the example{first}" if count == 1 else f"one of {count:,} examples (the first is{first})"
    return RunError(
        f"{which} cannot be learned ({type(error).__name__}: {error}). The run is as before this review, its "
        "flags too: accept fewer ids at once to find out which it is, and decide on that one with --reject"
    )


def _set_aside_by(folder: RunFolder, decision: int) -> list[Change]:
    """What learns everything after all that a decision set aside, in order."""
    revision = next(
        (
            change.revision
            for change in folder.history.revisions()
            if change.kind == "quarantine" and change.detail.get("decision") == decision
        ),
        None,
    )
    if revision is None:
        raise RunError(f"decision {decision} of {folder.path} set nothing aside")
    found = []
    for entry in set_aside_by(folder.journal, revision):
        if entry.target is None or folder.journal.examples.lacks_code(entry.offset):
            continue
        if entry.standing.is_out:
            found.append(Change(entry.offset, "readmitted", None, entry.target))
        elif entry.standing.is_held and entry.target not in entry.standing.targets:
            found.append(Change(entry.offset, "correction", entry.standing.targets[-1], entry.target))
    return found[::-1]
