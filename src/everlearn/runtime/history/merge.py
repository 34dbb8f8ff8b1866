"""``merge``: several runs become one, exactly as if one run had learned all their streams."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TypeVar

from everlearn.errors import ConfigError, RunError
from everlearn.journal.deletion.deletion import adopt_deletions
from everlearn.journal.journal import Journal
from everlearn.journal.records import UNLEARNABLE, After, Arrival, NewStep, Role
from everlearn.journal.repair.losses import lost_steps
from everlearn.journal.standing.held import HeldTargets, held_examples
from everlearn.journal.standing.learnable import unlearned_since
from everlearn.learning.closed_form import ClosedFormLearner
from everlearn.runtime.folder.field_names import adopt_field_names
from everlearn.runtime.folder.rebuild_report import write_reader_files
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.history.distinct_ids import DistinctIds
from everlearn.tasks.classification.closed_form import require_closed_form
from everlearn.tasks.records import Counts, LearnerRecord, RunStatus, Seconds
from everlearn.types import Json

__all__ = ["merge_runs"]

_Sums = TypeVar("_Sums", Counts, Seconds)

_BATCH = 256


def merge_runs(runs: Sequence[Path], out: Path) -> dict[str, Json]:
    """Merge runs of closed-form learners into a new run folder. The runs stay as they are.

    Returns:
        The figures of the merged run.

    Raises:
        ConfigError: Fewer than two runs.
        RunError: They were encoded or sized differently, hold the same ids, wait for targets, or
            ``out`` exists.
        StateError: Something saved is damaged.
        StorageError: ``out`` cannot be written.
    """
    if len(runs) < 2:
        raise ConfigError(f"merge takes at least two runs, not {len(runs)}")
    with ExitStack() as stack:
        folders = [stack.enter_context(RunFolder.open_to_read(path)) for path in runs]
        for folder in folders:
            stack.enter_context(folder.snapshot())
        for folder in folders:
            _check_mergeable(folders[0], folder)
        statuses = [RunStatus.model_validate(folder.newest_checkpoint().run) for folder in folders]
        first = folders[0]
        merged = RunFolder.create(out, first.config, first.record.learner, first.adapter_folder(0))
        is_done = False
        try:
            learner = _merged_learner(folders)
            is_renamed = False
            for folder in folders:
                ids = DistinctIds(folder, merged.journal, merged.sources())
                is_renamed |= ids.is_needed
                with merged.saving():
                    _copy_journal(folder, merged.journal, ids, keep_text=bool(merged.config.run.keep_text))
            # After all of them: what one run deleted another one may hold, where their ids clashed.
            with merged.saving():
                for folder in folders:
                    reason = f"deleted in {folder.path.name}"
                    adopt_deletions(folder.journal, merged.journal, reason=reason)
                for folder in folders:
                    _copy_rejections(folder, merged.journal, keep_text=bool(merged.config.run.keep_text))
            if is_renamed:  # the sample is chosen by ids
                learner.resample(example for _, example in held_examples(merged.journal))
            scores = merged.task.scores(merged.config)
            seconds = Seconds()
            for status in statuses:
                scores.counts = _sum_of(scores.counts, status.counts)
                seconds = _sum_of(seconds, status.seconds)
            learner.settle()
            merged.journal.append(NewStep(after=After(settle=True)), keep_text=False)
            summary = scores.summary(
                seconds, num_classes=len(learner.labels), fingerprint=learner.fingerprint()
            )
            status = RunStatus(
                counts=scores.counts, seconds=seconds, scores=scores.to_json(), summary=summary
            )
            merged.save(learner.state(), status)
            merged.write_rejections()
            is_done = True
            names = ", ".join(str(path) for path in runs)
            write_reader_files(
                merged,
                scores,
                summary,
                title=f"{len(runs)} merged runs",
                notes=[f"Merged from {names}; how their streams were predicted is in their own reports."],
            )
            return summary
        finally:
            if not is_done:
                merged.remove()
            merged.close()


def _merged_learner(folders: Sequence[RunFolder]) -> ClosedFormLearner:
    merged: ClosedFormLearner | None = None
    for folder in folders:
        learner = require_closed_form(folder.fresh_learner(), str(folder.path))
        learner.restore(folder.newest_checkpoint().learner)
        if merged is None:
            merged = learner
        else:
            merged.merge(learner)
    assert merged is not None
    return merged


def _copy_journal(folder: RunFolder, into: Journal, ids: DistinctIds, *, keep_text: bool) -> None:
    """Append everything that a run has taken, each example with the target that its state holds it with."""
    held = HeldTargets(folder.journal)
    everything = folder.journal.examples.arrivals(1, folder.journal.next_offset - 1)
    while batch := list(islice(everything, _BATCH)):
        arrivals: list[Arrival] = []
        for offset, arrival in batch:
            target = held(offset, arrival.role, arrival.example.target)
            present = folder.journal.standings.present_target(offset, arrival.example.target)
            role: Role = arrival.role
            if target is not None:
                role = "learn"
            elif role == "learn" and present is not None:
                role = "held"  # it had been set aside
            elif role == UNLEARNABLE:
                role = "held"
            kept = present if target is None else target
            example = replace(arrival.example, id=ids(arrival.example.id), target=kept)
            arrivals.append(replace(arrival, example=example, role=role))
        first = into.next_offset
        into.append(
            NewStep(arrivals=arrivals, learned=(first, first + len(arrivals) - 1)), keep_text=keep_text
        )
    for key, value in ids.progress():
        into.append(NewStep(source=key, progress=value), keep_text=False)
    adopt_field_names(folder, into)


def _copy_rejections(folder: RunFolder, into: Journal, *, keep_text: bool) -> None:
    rejected = [
        rejection if keep_text or rejection.id is None else replace(rejection, excerpt="")
        for rejection in folder.journal.rejections.all()
    ]
    if rejected:
        into.append(NewStep(rejected=rejected), keep_text=False)


def _check_mergeable(first: RunFolder, other: RunFolder) -> None:
    mine, theirs = first.record.learner, other.record.learner
    if theirs.kind != "closed-form":
        raise RunError(f"{other.path} has a {theirs.kind} learner; only closed-form learners can be merged")
    if other.journal.generation:
        raise RunError(
            f"{other.path} has a trunk of its own since its consolidation, so its codes cannot be joined "
            "with another run's; merge first, then consolidate what came of it"
        )
    if lost := lost_steps(other.journal):
        raise RunError(
            f"something of {len(lost):,} steps of {other.path} was lost to damage: what came with them "
            "cannot be brought into another run"
        )
    if not other.journal.last_step:
        raise RunError(f"{other.path} holds nothing learned yet")
    checkpoint = other.newest_checkpoint()
    if checkpoint.step != other.journal.last_step:
        raise RunError(
            f"the newest state of {other.path} is {other.journal.last_step - checkpoint.step:,} steps behind "
            "its journal (a crash came before the next checkpoint, or it is still learning); go on with its "
            "stream to the end first"
        )
    if unlearned_since(other.journal, other.journal.standings.last_learned_in_turn + 1):
        raise RunError(
            f"{other.path} has examples that wait for their targets; go on with its stream to the end first"
        )
    differing = _differences(mine, theirs)
    if differing:
        raise RunError(
            f"{first.path} and {other.path} cannot be merged, they differ in {'; '.join(differing)}"
        )


def _differences(mine: LearnerRecord, theirs: LearnerRecord) -> list[str]:
    differing = [
        f"{name}: {mine.config.get(name)!r} and {theirs.config.get(name)!r}"
        for name in sorted({*mine.config, *theirs.config} - {"max_classes"})
        if mine.config.get(name) != theirs.config.get(name)
    ]
    if mine.coder_fingerprint != theirs.coder_fingerprint:
        differing.append(f"how texts were encoded: {mine.coder_config} and {theirs.coder_config}")
    return differing


def _sum_of(first: _Sums, other: _Sums) -> _Sums:
    a, b = first.model_dump(), other.model_dump()
    return type(first)(**{name: a[name] + b[name] for name in a})
