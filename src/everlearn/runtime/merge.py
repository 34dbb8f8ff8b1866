"""``merge``: several runs become one, exactly as if one run had learned all their streams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from everlearn.errors import ConfigError, RunError
from everlearn.learning.closed_form import ClosedFormLearner
from everlearn.runtime.codes_store import CodesStore
from everlearn.runtime.id_registry import IdRegistry
from everlearn.runtime.learners import RunLearner, settle
from everlearn.runtime.opened_run import open_learner
from everlearn.runtime.rejections import RejectionLog
from everlearn.runtime.run_folder import RunFolder
from everlearn.runtime.run_record import Counts, LearnerRecord, Seconds
from everlearn.runtime.run_scores import RunScores
from everlearn.runtime.summary import summarize, write_reader_files
from everlearn.types import Json

__all__ = ["MergeOutcome", "merge_runs"]

_Sums = TypeVar("_Sums", Counts, Seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeOutcome:
    """The merged run.

    Attributes:
        folder: Its folder.
        summary: Its figures.
    """

    folder: Path
    summary: dict[str, Json]


def merge_runs(runs: Sequence[Path], out: Path) -> MergeOutcome:
    """Merge runs of closed-form learners into a new run folder. The runs stay as they are.

    Raises:
        ConfigError: Fewer than two runs.
        RunError: They were encoded or sized differently, hold the same ids, wait for targets, or
            ``out`` exists.
        StateError: Something saved is damaged.
        StorageError: ``out`` cannot be written.
    """
    if len(runs) < 2:
        raise ConfigError(f"merge takes at least two runs, not {len(runs)}")
    folders = [RunFolder.open_to_read(path) for path in runs]
    for folder in folders:
        _check_mergeable(folders[0], folder)
    first, learner = open_learner(runs[0])
    merged = RunFolder.create(out, first.config, first.record.learner)
    try:
        codes = CodesStore(out, [], first.record.learner)
        with merged.saving():
            registry = IdRegistry(out / "ids.sqlite", 0)
        try:
            rejected = RejectionLog(out / "rejected.jsonl", 0)
            counts, seconds = Counts(), Seconds()
            for index, folder in enumerate(folders):
                if index:
                    _merge_learner(learner, folder)
                with merged.saving():
                    codes.add_parts_of(folder.path, folder.record.codes)
                    _add_ids(registry, folder)
                    rejected.append_file(folder.path / "rejected.jsonl", folder.record.rejected_bytes)
                counts = _sum_of(counts, folder.record.counts)
                seconds = _sum_of(seconds, folder.record.seconds)
            settle(learner)
            scores = RunScores(counts, first.config.run.rolling_window)
            summary = summarize(
                scores,
                seconds,
                num_classes=len(learner.labels),
                fingerprint=learner.fingerprint(),
                tested=None,
            )
            record = merged.record.model_copy(
                update={
                    "codes": codes.flush(),
                    "counts": counts,
                    "seconds": seconds,
                    "sources": [source for folder in folders for source in folder.record.sources],
                    "rejected_bytes": rejected.num_bytes,
                    "summary": summary,
                }
            )
            with merged.saving():
                rejected.sync()
                registry.commit(1)
            merged.commit(record, {"learner": learner.state()}, scores.to_json())
        finally:
            registry.close()
        names = ", ".join(str(path) for path in runs)
        write_reader_files(
            merged,
            scores,
            summary,
            title=f"{len(runs)} merged runs",
            notes=[f"Merged from {names}; how their streams were predicted is in their own reports."],
        )
        return MergeOutcome(folder=out, summary=summary)
    finally:
        merged.close()
        if not merged.record.generation:
            merged.remove()


def _check_mergeable(first: RunFolder, other: RunFolder) -> None:
    mine, theirs = first.record.learner, other.record.learner
    if theirs.kind != "closed-form":
        raise RunError(f"{other.path} has a {theirs.kind} learner; only closed-form learners can be merged")
    if not other.record.generation:
        raise RunError(f"{other.path} holds nothing learned yet")
    if "pending.data" in other.record.state:
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
        for name in sorted({*mine.config, *theirs.config})
        if mine.config.get(name) != theirs.config.get(name)
    ]
    if mine.coder_fingerprint != theirs.coder_fingerprint:
        differing.append(f"how texts were encoded: {mine.coder_config} and {theirs.coder_config}")
    return differing


def _merge_learner(learner: RunLearner, folder: RunFolder) -> None:
    _, other = open_learner(folder.path)
    assert isinstance(learner, ClosedFormLearner)
    assert isinstance(other, ClosedFormLearner)
    learner.merge(other)


def _add_ids(registry: IdRegistry, folder: RunFolder) -> None:
    shared = registry.add_all_of(folder.path / "ids.sqlite")
    if shared:
        raise RunError(
            f"{folder.path} holds examples that an earlier run holds too ({', '.join(shared)}): merged, they "
            "would count twice. Forget them in one of the runs first."
        )


def _sum_of(one: _Sums, other: _Sums) -> _Sums:
    a, b = one.model_dump(), other.model_dump()
    return type(one)(**{name: a[name] + b[name] for name in a})
