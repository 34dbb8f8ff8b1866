"""Scores of a stream of labels: prequential accuracy and its like, the accuracy matrix."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from everlearn.evaluation.comparison import Comparison
from everlearn.evaluation.confusion import Confusion
from everlearn.evaluation.matrix import AccuracyMatrix
from everlearn.evaluation.metrics import MetricsLog, MetricsRow
from everlearn.evaluation.prequential import PrequentialScores
from everlearn.evaluation.report.labels import report_html
from everlearn.evaluation.report.page import write_page
from everlearn.evaluation.report.reported_run import ReportedRun
from everlearn.journal.durable_files import write_json
from everlearn.journal.journal import Journal
from everlearn.learning.run_learner import RunLearner
from everlearn.tasks.batch_result import BatchResult
from everlearn.tasks.classification.comparison import compared
from everlearn.tasks.records import Seconds
from everlearn.tasks.scores import RunScores
from everlearn.types import Json

__all__ = ["LabelScores"]

_MAX_CONFUSION_LABELS = 2_000


class LabelScores(RunScores):
    """Prequential scores, the metrics table and the accuracy matrix of a run.

    Args:
        rolling_window: Examples of the rolling scores.
    """

    matrix: AccuracyMatrix | None

    def __init__(self, rolling_window: int) -> None:
        super().__init__()
        self.prequential = PrequentialScores(rolling_window)
        self.matrix = None
        self._metrics = MetricsLog()
        self._rolling_accuracy: float | None = None

    @property
    def rolling_accuracy(self) -> float | None:
        """Share of the newest predictions that were right."""
        return self._rolling_accuracy

    def __call__(self, result: BatchResult) -> None:
        """Take in one step of the loop."""
        self._count(result)
        if not result.examples:
            return
        self.prequential.update(result.predictions, [example.target for example in result.examples])
        seconds, _ = self._measure(result)
        summary = self.prequential.summary()
        self._rolling_accuracy = summary["rolling_accuracy"]
        outliers = sum(prediction.is_outlier for prediction in result.predictions)
        self._metrics.add(
            MetricsRow.from_summary(
                summary,
                examples=self.counts.examples,
                seconds=seconds,
                num_classes=len(self.labels),
                examples_per_second=None if self.is_past else self.examples_per_second,
                memory_mb=self.memory_mb,
                outlier_share=outliers / len(result.examples),
            )
        )

    def to_json(self) -> dict[str, Json]:
        """What is saved beside the learner's state."""
        return {
            "prequential": self.prequential.state(),
            "matrix": None if self.matrix is None else self.matrix.to_json(),
        }

    def restore_saved(self, saved: Mapping[str, Any]) -> None:
        """See RunScores."""
        self.prequential.restore(saved["prequential"])
        self.matrix = None if saved["matrix"] is None else AccuracyMatrix.from_json(saved["matrix"])

    def metrics_table(self) -> pa.Table:
        """See RunScores."""
        return self._metrics.table()

    def restore_metrics(self, table: pa.Table) -> None:
        """See RunScores."""
        # Comparing in Arrow would import pandas.
        within = bisect_right(table["examples"].to_pylist(), self.counts.examples)
        self._metrics = MetricsLog.from_table(table.slice(0, within))

    def figures(self, seconds: Seconds, *, num_classes: int, tested: Mapping[str, Json]) -> dict[str, Json]:
        """See RunScores."""
        prequential, matrix = self.prequential.summary(), self.matrix
        names = ("accuracy", "macro_f1", "log_loss", "calibration_error")
        working_seconds = seconds.encode + seconds.predict + seconds.learn
        return {
            "classes": num_classes,
            **{f"prequential_{name}": prequential[name] for name in names},
            "prequential_accuracy_once_learning": prequential["accuracy_once_learning"],
            "predicted_unlearned": prequential["unlearned"],
            **{f"test_{name}": tested.get(f"test_{name}") for name in names},
            "average_accuracy": matrix.average_accuracy if matrix else None,
            "forgetting": matrix.forgetting if matrix else None,
            "backward_transfer": matrix.backward_transfer if matrix else None,
            "forward_transfer": matrix.forward_transfer if matrix else None,
            "examples_per_second": self.counts.examples / working_seconds if working_seconds > 0 else None,
        }

    def compared(
        self, journal: Journal, fresh_learner: Callable[[], RunLearner], *, solved: bool = False
    ) -> Comparison | None:
        """See RunScores."""
        return compared(journal, fresh_learner, solved=solved)

    def write_files(
        self, folder: Path, run: ReportedRun, journal: Journal, confusion: Confusion | None
    ) -> None:
        """See RunScores; also ``confusion.json`` and ``matrix.json``."""
        shown = confusion if confusion is not None else self.prequential.confusion()
        if len(shown.labels) <= _MAX_CONFUSION_LABELS:
            write_json(folder / "confusion.json", shown.to_json())
        else:  # that of before, with fewer labels, is not what the report shows
            (folder / "confusion.json").unlink(missing_ok=True)
        if self.matrix is not None:
            write_json(folder / "matrix.json", self.matrix.to_json())
        page = report_html(run, confusion=shown if shown.labels else None, matrix=self.matrix)
        write_page(folder / "report.html", page)
