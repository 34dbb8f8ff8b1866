"""The metrics table of a run folder: derived figures, so a damaged one is put aside and nothing stops."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from everlearn.errors import StateError
from everlearn.journal.durable_files import replacing
from everlearn.runtime.folder.run_folder import METRICS, RunFolder
from everlearn.tasks.records import RunStatus
from everlearn.tasks.scores import RunScores

__all__ = ["restore_scores", "write_metrics"]

_ASIDE = "metrics.damaged.parquet"


def restore_scores(folder: RunFolder, scores: RunScores, status: RunStatus) -> None:
    """Let scores go on from what a checkpoint kept, and from the metrics table.

    Args:
        folder: The run. Where its table is damaged, a note is added, the file is kept under another name and
            the table begins anew.
        scores: Fresh scores.
        status: What the checkpoint kept.

    Raises:
        StateError: What the checkpoint kept is damaged.
    """
    scores.restore(status)
    path = folder.path / METRICS
    if not path.is_file() or not status.scores:
        return
    try:
        with pq.ParquetFile(path) as file:  # read_table would import pandas, half a second at each start
            table = file.read()
        scores.restore_metrics(table)
    except (pa.ArrowException, OSError, KeyError, TypeError, StateError) as error:
        with suppress(OSError):
            path.replace(path.with_name(_ASIDE))
        reason = " ".join(str(error).split())
        folder.notes.append(
            f"{path} is damaged ({reason}) and was put aside as {_ASIDE}: the report's curves begin anew; "
            "nothing that was learned depends on them."
        )


def write_metrics(folder: Path, table: pa.Table) -> None:
    """Write the metrics table of a run folder, atomically."""
    with replacing(folder / METRICS) as temporary:
        pq.write_table(table, temporary)
