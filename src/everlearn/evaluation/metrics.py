"""The metrics table: one row a batch, thinned so that an endless stream needs bounded memory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import pyarrow as pa

from everlearn.errors import StateError
from everlearn.evaluation.thinned_rows import ThinnedRows
from everlearn.types import Json

__all__ = ["METRICS_SCHEMA", "MetricsLog", "MetricsRow", "SetMetricsRow", "joint_rate"]

_METADATA_KEY = b"everlearn.metrics"
_INTEGERS = ("examples", "num_classes")


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsRow:
    """How a run stood after a batch. None where a figure is undefined.

    Attributes:
        examples: Examples of the stream so far.
        seconds: Seconds since the start.
        accuracy: Prequential accuracy so far, 0…1; the next five likewise.
        rolling_accuracy: The same over the last examples.
        macro_f1: Macro-averaged F1 so far.
        log_loss: Mean log-loss so far, in nats.
        log_loss_known: The same without examples whose label was not known yet.
        calibration_error: Expected calibration error so far, 0…1.
        num_classes: Labels known.
        examples_per_second: Throughput of the batch (or batches) of this row.
        memory_mb: Resident memory in MB (10⁶ bytes); the highest where rows were merged.
        outlier_share: Share of the row's examples that were flagged as outliers, 0…1.
    """

    examples: int
    seconds: float
    accuracy: float | None = None
    rolling_accuracy: float | None = None
    macro_f1: float | None = None
    log_loss: float | None = None
    log_loss_known: float | None = None
    calibration_error: float | None = None
    num_classes: int | None = None
    examples_per_second: float | None = None
    memory_mb: float | None = None
    outlier_share: float | None = None

    @classmethod
    def from_summary(
        cls,
        summary: Mapping[str, Json],
        *,
        examples: int,
        seconds: float,
        num_classes: int | None = None,
        examples_per_second: float | None = None,
        memory_mb: float | None = None,
        outlier_share: float | None = None,
    ) -> MetricsRow:
        """A row from ``PrequentialScores.summary()`` and what the run knows beside it."""
        return cls(
            examples=examples,
            seconds=seconds,
            accuracy=summary["accuracy"],
            rolling_accuracy=summary["rolling_accuracy"],
            macro_f1=summary["macro_f1"],
            log_loss=summary["log_loss"],
            log_loss_known=summary["log_loss_known"],
            calibration_error=summary["calibration_error"],
            num_classes=num_classes,
            examples_per_second=examples_per_second,
            memory_mb=memory_mb,
            outlier_share=outlier_share,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SetMetricsRow(MetricsRow):
    """The same where predictions are sets of labels; then accuracy is that of whole sets.

    Attributes:
        micro_f1: F1 over all pairs of an example and a label so far, 0…1.
        rolling_micro_f1: The same over the last examples.
    """

    micro_f1: float | None = None
    rolling_micro_f1: float | None = None


def _schema(row: type[MetricsRow]) -> pa.Schema:
    return pa.schema(
        [
            pa.field(f.name, pa.int64() if f.name in _INTEGERS else pa.float64(), f.name not in _INTEGERS[:1])
            for f in fields(row)
        ]
    )


METRICS_SCHEMA = _schema(MetricsRow)
"""Columns of the table, named as the attributes of ``MetricsRow``."""


class MetricsLog:
    """Collects rows and halves their number, by merging neighbours, whenever there are too many.

    All rows but the last cover the same number of batches, a power of two, so resolution is even
    over the stream. A merged row keeps the later row's cumulative figures, the highest memory, the
    throughput over both together and the outlier share weighted by examples.

    Example:
        >>> log = MetricsLog(max_rows=4)
        >>> for batch in range(1, 11):
        ...     log.add(MetricsRow(examples=10 * batch, seconds=float(batch)))
        >>> log.table()["examples"].to_pylist()
        [40, 80, 100]

    Args:
        max_rows: The table never has more rows; even, at least 2.
        row: What its rows are.

    Raises:
        ConfigError: ``max_rows`` is odd or below 2.
    """

    def __init__(self, max_rows: int = 4000, row: type[MetricsRow] = MetricsRow) -> None:
        self._row = row
        self._thinned: ThinnedRows[MetricsRow] = ThinnedRows(_merged, max_rows)

    def __len__(self) -> int:
        return len(self._thinned.rows)

    @property
    def batches_per_row(self) -> int:
        """Batches that each row but the last covers."""
        return self._thinned.batches_per_row

    def add(self, row: MetricsRow) -> None:
        """Add the row of the batch just done."""
        self._thinned.add(row)

    def table(self) -> pa.Table:
        """The rows as a table; its metadata let ``from_table`` go on where this one stands."""
        schema = _schema(self._row)
        columns = [[getattr(row, name) for row in self._thinned.rows] for name in schema.names]
        metadata = {_METADATA_KEY: json.dumps(self._thinned.metadata()).encode()}
        return pa.table(columns, schema=schema.with_metadata(metadata))

    @classmethod
    def from_table(cls, table: pa.Table, row: type[MetricsRow] = MetricsRow) -> MetricsLog:
        """Continue from a table that ``table`` gave, also after it went through Parquet.

        Raises:
            StateError: The table was not written by this class or is damaged.
        """
        try:
            metadata = json.loads((table.schema.metadata or {})[_METADATA_KEY])
            log = cls(metadata["max_rows"], row)
            rows = [row(**values) for values in table.select(_schema(row).names).to_pylist()]
            log._thinned.restore(rows, metadata)
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"the metrics table is damaged: {error!r}") from error
        return log


def _merged(before: MetricsRow | None, first: MetricsRow, second: MetricsRow) -> MetricsRow:
    """One row for two neighbours, and the row before them."""
    num_first = first.examples - (0 if before is None else before.examples)
    num_second = second.examples - first.examples
    return replace(
        second,
        examples_per_second=joint_rate(
            num_first, first.examples_per_second, num_second, second.examples_per_second
        ),
        memory_mb=max((m for m in (first.memory_mb, second.memory_mb) if m is not None), default=None),
        outlier_share=_joint_share(num_first, first.outlier_share, num_second, second.outlier_share),
    )


def joint_rate(num_a: int, rate_a: float | None, num_b: int, rate_b: float | None) -> float | None:
    """Examples a second over two stretches together."""
    if not rate_a or not rate_b or num_a + num_b == 0:
        return rate_b or rate_a
    return (num_a + num_b) / (num_a / rate_a + num_b / rate_b)


def _joint_share(num_a: int, share_a: float | None, num_b: int, share_b: float | None) -> float | None:
    """Share over two stretches together."""
    if share_a is None or share_b is None or num_a + num_b == 0:
        return share_a if share_b is None else share_b
    return (num_a * share_a + num_b * share_b) / (num_a + num_b)
