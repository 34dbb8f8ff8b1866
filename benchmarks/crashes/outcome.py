"""What a run came to, and in what two runs differ."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch

from everlearn.journal.checkpoints import Checkpoint
from everlearn.journal.digest import content_digest
from everlearn.journal.standing.held import held_examples
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.history.verify import verify_run
from everlearn.tasks.records import RunStatus

__all__ = ["Outcome", "differences", "outcome_of"]

_TIMES = frozenset({"seconds", "examples_per_second", "memory_mb"})
_REPORT_FILES = ("rejected.jsonl", "confusion.json")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcome:
    """What a run came to.

    Attributes:
        num_steps: Steps journaled.
        journal: Digest of everything that the journal says.
        fingerprint: The learner's.
        checkpoint: The newest state.
        status: What it keeps beside the learner's.
        versions: Step, fingerprint and status of every version.
        decisions: What the guard decided.
        serving: The version that is served.
        held: Ids and targets that the state holds, in order, each as often as it is held.
        metrics: The metrics table without times.
        files: Contents of the readers' files.
        leftovers: Files that should not be there.
    """

    num_steps: int
    journal: str
    fingerprint: str
    checkpoint: Checkpoint
    status: RunStatus
    versions: list[tuple[int, str, str]]
    decisions: list[tuple[int, str, str]]
    serving: int | None
    held: list[tuple[str, str]]
    metrics: list[dict[str, Any]]
    files: dict[str, str]
    leftovers: list[str]


def outcome_of(run: Path) -> Outcome:
    """What a finished run came to."""
    with RunFolder.open_to_read(run) as folder:
        checkpoint = folder.newest_checkpoint()
        status = RunStatus.model_validate(checkpoint.run)
        recorded = {f"checkpoints/{one.file}" for one in folder.history.checkpoints()}
        return Outcome(
            num_steps=folder.journal.last_step,
            journal=content_digest(folder.journal),
            fingerprint=str(status.summary.get("fingerprint")),
            checkpoint=checkpoint,
            status=status,
            versions=[(one.step, one.fingerprint, one.status) for one in folder.history.versions()],
            decisions=[(one.step, one.verdict, one.reason) for one in folder.history.decisions()],
            serving=folder.serving,
            held=[(one.id, str(one.target)) for _, one in held_examples(folder.journal)],
            metrics=pq.read_table(run / "metrics.parquet").drop_columns(list(_TIMES)).to_pylist(),
            files={
                name: (run / name).read_text(encoding="utf-8") if (run / name).exists() else ""
                for name in _REPORT_FILES
            },
            leftovers=sorted(_leftovers(run, recorded)),
        )


def differences(
    run: Path, undisturbed: Outcome, held: Mapping[str, str] | None, *, verify: bool = True
) -> list[str]:
    """In what a run differs from one that nobody disturbed, in sentences; empty: in nothing.

    Args:
        run: The run that was killed.
        undisturbed: The other's outcome.
        held: Targets that must be held, by id, from the stream itself; None: those of the other run.
        verify: Whether the journal is folded once more from its beginning.
    """
    outcome = outcome_of(run)
    found = [
        f"{name} differs: {_short(getattr(outcome, name))}, undisturbed {_short(getattr(undisturbed, name))}"
        for name in (
            "num_steps",
            "journal",
            "fingerprint",
            "versions",
            "decisions",
            "serving",
            "metrics",
            "files",
        )
        if getattr(outcome, name) != getattr(undisturbed, name)
    ]
    found += _state_differences(outcome.checkpoint, undisturbed.checkpoint)
    for name, one, other in (
        ("counts", outcome.status.counts.model_dump(), undisturbed.status.counts.model_dump()),
        ("scores", outcome.status.scores, undisturbed.status.scores),
    ):
        if one != other:
            found.append(f"{name} differ: {_short(one)}, undisturbed {_short(other)}")
    ids = [id_ for id_, _ in outcome.held]
    if len(ids) != len(set(ids)):
        found.append(f"{len(ids) - len(set(ids)):,} examples are held twice")
    expected = dict(undisturbed.held) if held is None else dict(held)
    if dict(outcome.held) != expected:
        lost, wrong = expected.keys() - set(ids), dict(outcome.held).items() - expected.items()
        found.append(f"{len(lost):,} examples are lost, {len(wrong):,} are held that should not be so")
    if outcome.leftovers:
        found.append(f"left over: {', '.join(outcome.leftovers)}")
    if verify:
        found += verify_run(run).failed
    return found


def _state_differences(one: Checkpoint, other: Checkpoint) -> Iterator[str]:
    if unpaired := sorted(one.learner.tensors.keys() ^ other.learner.tensors.keys()):
        yield f"the state has other tensors: {', '.join(unpaired)}"
    for name in sorted(one.learner.tensors.keys() & other.learner.tensors.keys()):
        mine, theirs = one.learner.tensors[name], other.learner.tensors[name]
        if mine.dtype != theirs.dtype or not torch.equal(mine, theirs):
            yield f"tensor {name} of the state differs"
    if _canonical(one.learner.data) != _canonical(other.learner.data):
        yield "the state's data differ"


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _leftovers(run: Path, recorded: set[str]) -> Iterator[str]:
    for path in run.rglob("*"):
        name = str(path.relative_to(run))
        is_stray = name.startswith("checkpoints/") and name not in recorded
        if path.is_file() and (is_stray or name.endswith(".tmp")):
            yield name


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 200 else f"{text[:200]} …"
