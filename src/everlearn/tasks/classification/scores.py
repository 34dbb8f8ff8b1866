"""What a run knows of its own quality: an observer that scores, counts and keeps the metrics table."""

from __future__ import annotations

import time
from bisect import bisect_right

import psutil
import pyarrow as pa

from everlearn.evaluation.matrix import AccuracyMatrix
from everlearn.evaluation.metrics import MetricsLog, MetricsRow
from everlearn.evaluation.prequential import PrequentialScores
from everlearn.tasks.batch_result import BatchResult
from everlearn.tasks.records import Counts, RunStatus
from everlearn.types import Json

__all__ = ["RunScores"]

_MEGABYTE = 1e6


class RunScores:
    """Prequential scores, the metrics table and the accuracy matrix of a run.

    Args:
        rolling_window: Examples of the rolling scores.

    Attributes:
        counts: Examples by what became of them.
        is_past: Whether the steps that come were made before and are only folded again, at a speed that is
            not the stream's.
    """

    def __init__(self, rolling_window: int) -> None:
        self.counts = Counts()
        self.prequential = PrequentialScores(rolling_window)
        self.matrix: AccuracyMatrix | None = None
        self.metrics = MetricsLog()
        self.labels: set[str] = set()
        self.rolling_accuracy: float | None = None
        self.memory_mb = 0.0
        self.examples_per_second = 0.0
        self.is_past = False
        self._process = psutil.Process()
        self._start = time.perf_counter()
        self._last = time.perf_counter()

    def __call__(self, result: BatchResult) -> None:
        """Take in one step of the loop."""
        self.counts.rejected += result.num_rejected
        if result.report is not None:
            self.counts.learned += result.report.num_learned - result.num_unlearned
            self.counts.without_target += result.report.num_without_target - result.num_late_targets
            self.labels.update(result.report.new_labels)
        if not result.examples:
            return
        self.counts.examples += len(result.examples)
        self.prequential.update(result.predictions, [example.target for example in result.examples])
        now = time.perf_counter()
        self.examples_per_second = len(result.examples) / max(now - self._last, 1e-9)
        self._last = now
        self.memory_mb = self._process.memory_info().rss / _MEGABYTE
        summary = self.prequential.summary()
        self.rolling_accuracy = summary["rolling_accuracy"]
        outliers = sum(prediction.is_outlier for prediction in result.predictions)
        self.metrics.add(
            MetricsRow.from_summary(
                summary,
                examples=self.counts.examples,
                seconds=now - self._start,
                num_classes=len(self.labels),
                examples_per_second=None if self.is_past else self.examples_per_second,
                memory_mb=self.memory_mb,
                outlier_share=outliers / len(result.examples),
            )
        )

    def rest(self) -> None:
        """Leave out of the throughput what happened since the last batch (saving, testing, waiting)."""
        self._last = time.perf_counter()

    def to_json(self) -> dict[str, Json]:
        """What is saved beside the learner's state."""
        return {
            "prequential": self.prequential.state(),
            "matrix": None if self.matrix is None else self.matrix.to_json(),
        }

    def restore(self, status: RunStatus) -> None:
        """Go on from what a checkpoint kept. Raises StateError where it is damaged."""
        self.counts = status.counts.model_copy()
        self._start = time.perf_counter() - status.seconds.total
        saved = status.scores
        if not saved:
            return
        self.prequential.restore(saved["prequential"])
        self.matrix = None if saved["matrix"] is None else AccuracyMatrix.from_json(saved["matrix"])

    def restore_metrics(self, table: pa.Table) -> None:
        """Go on from the metrics table of the run folder, which may be newer than the checkpoint.

        Raises:
            KeyError: It has other columns.
            TypeError: Columns of other types.
            StateError: It is damaged.
        """
        # Comparing in Arrow would import pandas.
        within = bisect_right(table["examples"].to_pylist(), self.counts.examples)
        self.metrics = MetricsLog.from_table(table.slice(0, within))
