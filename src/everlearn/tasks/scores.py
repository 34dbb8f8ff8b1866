"""What a run knows of its own quality: an observer that counts, scores and keeps the metrics table."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa

from everlearn.evaluation.comparison import Comparison
from everlearn.evaluation.confusion import Confusion
from everlearn.evaluation.report.reported_run import ReportedRun
from everlearn.journal.journal import Journal
from everlearn.learning.run_learner import RunLearner
from everlearn.process_memory import peak_memory_mb
from everlearn.tasks.batch_result import BatchResult
from everlearn.tasks.records import Counts, RunStatus, Seconds
from everlearn.types import Json

__all__ = ["RunScores", "Tested"]

_MEGABYTE = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested:
    """Figures of files that are not learned.

    Attributes:
        figures: By the names that summaries use.
        confusion: Which labels were taken for which, where there are labels.
    """

    figures: Mapping[str, Json]
    confusion: Confusion | None = None


class RunScores(ABC):
    """Scores of a run's stream.

    Attributes:
        counts: Examples by what became of them.
        labels: Labels seen so far.
        matrix: What was measured of each part of the stream after each, where a test set was given.
        memory_mb: Memory of the process after the last step, in 10⁶ bytes.
        examples_per_second: In the last step.
        is_past: Whether the steps that come were made before and are only folded again, at a speed that is
            not the stream's.
    """

    matrix: Any = None

    def __init__(self) -> None:
        self.counts = Counts()
        self.labels: set[str] = set()
        self.memory_mb = 0.0
        self.examples_per_second = 0.0
        self.is_past = False
        self._process = psutil.Process()
        self._start = time.perf_counter()
        self._last = time.perf_counter()

    @property
    def rolling_accuracy(self) -> float | None:
        """Share of the newest predictions that were right; None where nothing is right or wrong."""
        return None

    @property
    def rolling_text(self) -> str | None:
        """Another rolling score, for display."""
        return None

    @abstractmethod
    def __call__(self, result: BatchResult) -> None:
        """Take in one step of the loop."""

    @abstractmethod
    def to_json(self) -> dict[str, Json]:
        """What is saved beside the learner's state."""

    @abstractmethod
    def restore_saved(self, saved: Mapping[str, Any]) -> None:
        """Go on from what ``to_json`` gave. Raises StateError where it is damaged."""

    @abstractmethod
    def metrics_table(self) -> pa.Table:
        """The metrics table: a row for each step, thinned where there are many."""

    @abstractmethod
    def restore_metrics(self, table: pa.Table) -> None:
        """Go on from the metrics table of the run folder, which may be newer than the checkpoint.

        Raises:
            KeyError: It has other columns.
            TypeError: Columns of other types.
            StateError: It is damaged.
        """

    @abstractmethod
    def figures(self, seconds: Seconds, *, num_classes: int, tested: Mapping[str, Json]) -> dict[str, Json]:
        """The run's figures by the names that ``learn --json`` prints; see ``summary``."""

    @abstractmethod
    def write_files(
        self, folder: Path, run: ReportedRun, journal: Journal, confusion: Confusion | None
    ) -> None:
        """Write ``report.html``, and what else is made for readers.

        Args:
            folder: The run folder.
            run: What the report says of it.
            journal: The run's.
            confusion: On a held-out set; None: that of the stream.
        """

    def compared(
        self, journal: Journal, fresh_learner: Callable[[], RunLearner], *, solved: bool = False
    ) -> Comparison | None:
        """What simple learners reach on the same stream; None where nothing is compared.

        Args:
            journal: The run's.
            fresh_learner: Makes the run's learner without its state.
            solved: Whether that one is compared too, solved anew before every batch. Slow.

        Raises:
            StateError: The journal is damaged.
        """
        return None

    def forget(self, ids: Collection[str]) -> None:
        """Let go of what names examples that are deleted."""

    def rest(self) -> None:
        """Leave out of the throughput what happened since the last batch (saving, testing, waiting)."""
        self._last = time.perf_counter()

    def restore(self, status: RunStatus) -> None:
        """Go on from what a checkpoint kept. Raises StateError where it is damaged."""
        self.counts = status.counts.model_copy()
        self._start = time.perf_counter() - status.seconds.total
        if status.scores:
            self.restore_saved(status.scores)

    def summary(
        self, seconds: Seconds, *, num_classes: int, fingerprint: str, tested: Tested | None = None
    ) -> dict[str, Json]:
        """The figures that ``learn --json`` prints; None where one does not apply.

        Times and counts cover the whole run. Rates are over encoding and learning (predictions included);
        reading, saving, loading the model and testing are left out.

        Args:
            seconds: By kind of work.
            num_classes: Labels known.
            fingerprint: The learner's.
            tested: Figures of a held-out set.
        """
        counts = self.counts
        return {
            "examples": counts.examples,
            "learned": counts.learned,
            "without_target": counts.without_target,
            "rejected": counts.rejected,
            "forgotten": counts.forgotten,
            **self.figures(seconds, num_classes=num_classes, tested={} if tested is None else tested.figures),
            "seconds": round(seconds.total, 3),
            "encode_seconds": round(seconds.encode, 3),
            "predict_seconds": round(seconds.predict, 3),
            "learn_seconds": round(seconds.learn, 3),
            "evaluate_seconds": round(seconds.evaluate, 3),
            "save_seconds": round(seconds.save, 3),
            "peak_memory_mb": round(peak_memory_mb(), 1),
            "fingerprint": fingerprint,
        }

    def _count(self, result: BatchResult) -> None:
        report = result.report
        self.counts.rejected += result.num_rejected
        self.counts.examples += len(result.examples)
        if report is not None:
            self.counts.learned += report.num_learned - result.num_unlearned
            self.counts.without_target += report.num_without_target - result.num_late_targets
            self.labels.update(report.new_labels)

    def _measure(self, result: BatchResult) -> tuple[float, float]:
        """Note how quick a step was, and the memory; returns seconds of the run so far, and of the step."""
        now = time.perf_counter()
        elapsed, self._last = max(now - self._last, 1e-9), now
        self.examples_per_second = len(result.examples) / elapsed
        self.memory_mb = self._process.memory_info().rss / _MEGABYTE
        return now - self._start, elapsed
