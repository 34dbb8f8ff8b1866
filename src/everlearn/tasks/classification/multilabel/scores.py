"""Scores of a stream of sets of labels: prequential F1 and its like, the accuracy matrix."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from everlearn.evaluation.confusion import Confusion
from everlearn.evaluation.matrix import AccuracyMatrix
from everlearn.evaluation.metrics import MetricsLog, SetMetricsRow
from everlearn.evaluation.report.label_sets import set_report_html
from everlearn.evaluation.report.page import write_page
from everlearn.evaluation.report.reported_run import ReportedRun
from everlearn.evaluation.set_scores import SetScores
from everlearn.journal.durable_files import write_json
from everlearn.journal.journal import Journal
from everlearn.tasks.batch_result import BatchResult
from everlearn.tasks.records import Seconds
from everlearn.tasks.scores import RunScores
from everlearn.types import Json

__all__ = ["SetRunScores"]

_FIGURES = ("micro_f1", "macro_f1", "subset_accuracy")


class SetRunScores(RunScores):
    """Prequential scores, the metrics table and the accuracy matrix of a run.

    Args:
        rolling_window: Examples of the rolling scores.
    """

    matrix: AccuracyMatrix | None

    def __init__(self, rolling_window: int) -> None:
        super().__init__()
        self.prequential = SetScores(rolling_window)
        self.matrix = None
        self._metrics = MetricsLog(row=SetMetricsRow)
        self._rolling_f1: float | None = None

    @property
    def rolling_text(self) -> str | None:
        """F1 of the newest predictions."""
        return None if self._rolling_f1 is None else f"micro-F1 {self._rolling_f1:.1%}"

    def __call__(self, result: BatchResult) -> None:
        """Take in one step of the loop."""
        self._count(result)
        if not result.examples:
            return
        self.prequential.update(result.predictions, [example.target for example in result.examples])
        seconds, _ = self._measure(result)
        summary = self.prequential.summary()
        self._rolling_f1 = summary["rolling_micro_f1"]
        outliers = sum(prediction.is_outlier for prediction in result.predictions)
        self._metrics.add(
            SetMetricsRow(
                examples=self.counts.examples,
                seconds=seconds,
                accuracy=summary["subset_accuracy"],
                rolling_accuracy=summary["rolling_subset_accuracy"],
                macro_f1=summary["macro_f1"],
                micro_f1=summary["micro_f1"],
                rolling_micro_f1=summary["rolling_micro_f1"],
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
        within = bisect_right(table["examples"].to_pylist(), self.counts.examples)
        self._metrics = MetricsLog.from_table(table.slice(0, within), SetMetricsRow)

    def figures(self, seconds: Seconds, *, num_classes: int, tested: Mapping[str, Json]) -> dict[str, Json]:
        """See RunScores."""
        prequential, matrix = self.prequential.summary(), self.matrix
        working_seconds = seconds.encode + seconds.predict + seconds.learn
        return {
            "classes": num_classes,
            "labels_per_example": prequential["labels_per_example"],
            **{f"prequential_{name}": prequential[name] for name in _FIGURES},
            **{f"test_{name}": tested.get(f"test_{name}") for name in _FIGURES},
            "average_accuracy": matrix.average_accuracy if matrix else None,
            "forgetting": matrix.forgetting if matrix else None,
            "examples_per_second": self.counts.examples / working_seconds if working_seconds > 0 else None,
        }

    def write_files(
        self, folder: Path, run: ReportedRun, journal: Journal, confusion: Confusion | None
    ) -> None:
        """See RunScores; also ``matrix.json``."""
        if self.matrix is not None:
            write_json(folder / "matrix.json", self.matrix.to_json())
        write_page(folder / "report.html", set_report_html(run, self.prequential.by_label()))
