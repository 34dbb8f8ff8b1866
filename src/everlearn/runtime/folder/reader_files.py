"""The files of a run folder that are made for readers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from everlearn.evaluation.confusion import Confusion
from everlearn.evaluation.report.reported_run import ReportedRun
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.tasks.scores import RunScores

__all__ = ["write_reader_files"]


def write_reader_files(
    folder: RunFolder,
    scores: RunScores,
    summary: dict[str, Any],
    *,
    title: str,
    confusion: Confusion | None = None,
    notes: Sequence[str] = (),
) -> None:
    """Write ``report.html``, and what else the task makes for readers.

    Args:
        folder: The run folder.
        scores: Of the stream.
        summary: The run's figures.
        title: The report's heading.
        confusion: On the held-out set; None: that of the stream.
        notes: What the reader should know.

    Raises:
        StorageError: A file cannot be written.
    """
    run = ReportedRun(
        title=title,
        summary=summary,
        metrics=scores.metrics_table(),
        config=folder.record.config,
        notes=notes,
        decisions=[asdict(decision) for decision in folder.history.decisions()],
    )
    with folder.saving():
        scores.write_files(folder.path, run, folder.journal, confusion)
