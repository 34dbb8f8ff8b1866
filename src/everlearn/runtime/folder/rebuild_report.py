"""The files of a run folder that are made for readers; the report anew from what the folder holds."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from everlearn.errors import StateError
from everlearn.evaluation.comparison import Comparison
from everlearn.evaluation.confusion import Confusion
from everlearn.evaluation.report.reported_run import ReportedRun
from everlearn.journal.checkpoints import Checkpoint
from everlearn.runtime.folder.metrics_file import restore_scores
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.tasks.records import RunStatus
from everlearn.tasks.scores import RunScores
from everlearn.tasks.table import task_of
from everlearn.types import Json

__all__ = ["rebuild_report", "write_reader_files"]


def rebuild_report(
    run: Path, *, on_note: Callable[[str], None] = lambda _: None, solved: bool = False
) -> Path:
    """Write ``report.html`` again and return its path.

    Args:
        run: The run folder; it may be in use.
        on_note: Is told what was found damaged and passed over.
        solved: See ``write_reader_files``.

    Raises:
        RunError: Not a run folder, or nothing was learned yet.
        StateError: Something saved is damaged.
        StorageError: The report cannot be written.
    """
    with RunFolder.open_to_read(run) as folder:
        checkpoint = folder.newest_checkpoint()
        status = RunStatus.model_validate(checkpoint.run)
        scores = task_of(folder.config).scores(folder.config)
        restore_scores(folder, scores, status)
        for note in folder.notes:
            on_note(note)
        forgotten = folder.history.num_forgotten()
        notes = list(folder.notes)
        if forgotten:
            notes.append(
                f"{forgotten:,} examples were forgotten. Scores of the stream, and held-out "
                "scores taken before, include them."
            )
        write_reader_files(
            folder,
            scores,
            _summary(status, scores, checkpoint),
            title=", ".join(Path(source.key).name for source in folder.sources()),
            confusion=_read_confusion(folder.path / "confusion.json"),
            notes=notes,
            solved=solved,
        )
    return run / "report.html"


def write_reader_files(
    folder: RunFolder,
    scores: RunScores,
    summary: dict[str, Any],
    *,
    title: str,
    confusion: Confusion | None = None,
    notes: Sequence[str] = (),
    solved: bool = False,
) -> Comparison | None:
    """Write ``report.html``, and what else the task makes for readers; returns what the report compares.

    Args:
        folder: The run folder.
        scores: Of the stream.
        summary: The run's figures.
        title: The report's heading.
        confusion: On the held-out set; None: that of the stream.
        notes: What the reader should know.
        solved: Whether the run's learner, solved anew before every batch, is compared too. Slow.

    Raises:
        StorageError: A file cannot be written.
    """
    comparison = None
    try:
        comparison = scores.compared(folder.journal, folder.fresh_learner, solved=solved)
    except StateError as error:
        notes = [*notes, f"Simple learners are not compared: {error}"]
    run = ReportedRun(
        title=title,
        summary=summary,
        metrics=scores.metrics_table(),
        config=folder.record.config,
        notes=notes,
        decisions=[asdict(decision) for decision in folder.history.decisions()],
        comparison=comparison,
    )
    with folder.saving():
        scores.write_files(folder.path, run, folder.journal, confusion)
    return comparison


def _summary(status: RunStatus, scores: RunScores, checkpoint: Checkpoint) -> dict[str, Json]:
    """The figures of the sitting that ended there; of one that did not end, those that its scores give."""
    if "examples" in status.summary:
        return status.summary
    figures = scores.summary(
        status.seconds, num_classes=len(checkpoint.learner.data.get("labels", ())), fingerprint=""
    )
    return figures | status.summary


def _read_confusion(path: Path) -> Confusion | None:
    if not path.is_file():
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        labels = tuple(str(label) for label in value["labels"])
        return Confusion.from_matrix(labels, value["rows_are_targets"])
    except (ValueError, KeyError, TypeError):
        # It can be counted again from the stream's scores.
        return None
