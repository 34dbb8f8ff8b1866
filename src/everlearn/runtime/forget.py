"""``forget``: take examples out of a run, with everything the run keeps of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from everlearn.errors import ConfigError, RunError
from everlearn.evaluation.delayed import DelayedTargets
from everlearn.runtime.codes_store import CodesStore, Matcher, example_matcher
from everlearn.runtime.id_registry import IdRegistry
from everlearn.runtime.learners import RunLearner, resample_if_needed, settle
from everlearn.runtime.opened_run import restored_learner, writable_run
from everlearn.runtime.rebuild_report import rebuild_report
from everlearn.runtime.rejections import RejectionLog
from everlearn.runtime.run_folder import RunFolder
from everlearn.runtime.run_record import RunRecord
from everlearn.types import Example, Json, State

__all__ = ["ForgetOutcome", "forget_in_run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetOutcome:
    """What a ``forget`` did.

    Attributes:
        num_forgotten: Examples whose influence is gone.
        unknown_ids: Ids asked for that the run does not hold.
        removed_labels: Labels that no remaining example carries.
        exact: Whether the state now equals that of a run which never saw the examples.
        fingerprint_before: Before.
        fingerprint_after: After.
    """

    num_forgotten: int
    unknown_ids: tuple[str, ...]
    removed_labels: tuple[str, ...]
    exact: bool
    fingerprint_before: str
    fingerprint_after: str

    def to_json(self) -> dict[str, Json]:
        """As printed by ``forget --json``."""
        return {
            "forgotten": self.num_forgotten,
            "unknown_ids": list(self.unknown_ids),
            "removed_labels": list(self.removed_labels),
            "exact": self.exact,
            "fingerprint_before": self.fingerprint_before,
            "fingerprint_after": self.fingerprint_after,
        }


def forget_in_run(
    run: Path, *, ids: Sequence[str] = (), where: Sequence[tuple[str, str]] = ()
) -> ForgetOutcome:
    """Forget the examples with one of these ids, and (if given) with these values in these fields.

    Their codes, ids and kept texts are removed from the run folder too. Scores of the past stay: they
    say how the stream was predicted when it came.

    Args:
        run: The run folder.
        ids: Ids; empty: any.
        where: (field, value) pairs, all of which must hold. A field is id, target (or label), domain,
            time, or one of the record's own.

    Raises:
        ConfigError: Neither ids nor fields.
        RunError: The folder is in use or no run, or keeps no records to select by fields.
        StateError: Something saved is damaged. Nothing was changed.
        StorageError: Saving failed; the run is as before.
    """
    if not ids and not where:
        raise ConfigError("say what to forget: ids (--id), or a field's value (--where field=value)")
    with writable_run(run) as folder:
        learner = restored_learner(folder)
        before = learner.fingerprint()
        if folder.record.learner.kind == "closed-form":
            return _forget_codes(folder, learner, before, ids, where)
        return _forget_ids(folder, learner, before, ids, where)


def _forget_codes(
    folder: RunFolder, learner: RunLearner, before: str, ids: Sequence[str], where: Sequence[tuple[str, str]]
) -> ForgetOutcome:
    record = folder.record
    labels_before = learner.labels
    matches = example_matcher(ids, where)
    codes = CodesStore(folder.path, record.codes, record.learner)
    with folder.saving():
        selection = codes.select(matches)
        num_forgotten = sum(learner.forget(batch).num_forgotten for batch in codes.read_selected(selection))
    pending, waiting = _without_pending(folder, matches)
    found = {*selection.ids, *waiting}
    if found:
        with folder.saving():
            parts = codes.drop(selection)
        resample_if_needed(learner, codes.scan())
        _save(folder, learner, record.model_copy(update={"codes": parts}), pending, num_forgotten, found)
    return ForgetOutcome(
        num_forgotten=num_forgotten,
        unknown_ids=tuple(dict.fromkeys(one for one in ids if one not in found)),
        removed_labels=tuple(label for label in labels_before if label not in set(learner.labels)),
        exact=True,
        fingerprint_before=before,
        fingerprint_after=learner.fingerprint(),
    )


def _forget_ids(
    folder: RunFolder, learner: RunLearner, before: str, ids: Sequence[str], where: Sequence[tuple[str, str]]
) -> ForgetOutcome:
    if where:
        raise RunError(
            f"{folder.path} was learned by the gradient learner and keeps no records to select from; "
            "name the ids (--id)"
        )
    asked = list(dict.fromkeys(ids))
    registry = IdRegistry(folder.path / "ids.sqlite", folder.record.generation)
    try:
        known = {one for one, is_known in zip(asked, registry.known(asked), strict=True) if is_known}
    finally:
        registry.close()
    report = learner.forget([Example(id=one) for one in asked if one in known])
    pending, _ = _without_pending(folder, lambda row: row["id"] in known)
    if known:
        _save(folder, learner, folder.record, pending, len(known), known)
    return ForgetOutcome(
        num_forgotten=len(known),
        unknown_ids=tuple(one for one in asked if one not in known),
        removed_labels=report.removed_labels,
        exact=report.exact,
        fingerprint_before=before,
        fingerprint_after=learner.fingerprint(),
    )


def _without_pending(folder: RunFolder, matches: Matcher) -> tuple[State | None, list[str]]:
    """The examples that wait for their targets without the matching ones, and those ones' ids."""
    state = folder.load_state("pending")
    if state is None:
        return None, []
    queue = DelayedTargets(0)
    queue.restore(state)
    waiting = queue.flush()
    rows = [
        {"id": one.id, "target": one.target, "domain": one.domain, "time": one.time, "fields": one.fields}
        for one in waiting
    ]
    dropped = [matches(row) for row in rows]
    queue.push([one for one, drop in zip(waiting, dropped, strict=True) if not drop])
    return queue.state(), [one.id for one, drop in zip(waiting, dropped, strict=True) if drop]


def _save(
    folder: RunFolder,
    learner: RunLearner,
    record: RunRecord,
    pending: State | None,
    num_forgotten: int,
    ids: Collection[str],
) -> None:
    settle(learner)
    states = {"learner": learner.state()}
    if pending is not None:
        states["pending"] = pending
    counts = record.counts.model_copy(update={"forgotten": record.counts.forgotten + num_forgotten})
    summary = record.summary | {
        "forgotten": counts.forgotten,
        "classes": len(learner.labels),
        "fingerprint": learner.fingerprint(),
    }
    with folder.saving():
        registry = IdRegistry(folder.path / "ids.sqlite", record.generation)
        try:
            registry.remove(sorted(ids))
            rejected = RejectionLog(folder.path / "rejected.jsonl", record.rejected_bytes)
            rejected.drop_duplicates_of(ids)
            record = record.model_copy(
                update={"counts": counts, "summary": summary, "rejected_bytes": rejected.num_bytes}
            )
            registry.commit(record.generation + 1)
            folder.commit(record, states, folder.load_scores())
            registry.purge()
        finally:
            registry.close()
    rebuild_report(folder.path)
