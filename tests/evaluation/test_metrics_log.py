"""The metrics table stays bounded, keeps its meaning when thinned, and can be continued."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everlearn.errors import ConfigError, StateError
from everlearn.evaluation import METRICS_SCHEMA, MetricsLog, MetricsRow, PrequentialScores
from everlearn.types import Prediction


def rows_of(sizes: list[int]) -> list[MetricsRow]:
    """One row a batch, with a throughput of 10 · size examples a second."""
    rows, examples, seconds = [], 0, 0.0
    for number, size in enumerate(sizes):
        examples += size
        seconds += 0.1
        rows.append(
            MetricsRow(
                examples=examples,
                seconds=seconds,
                accuracy=number / 100,
                num_classes=number,
                examples_per_second=size * 10.0,
                memory_mb=float(number * 7 % 5),
                outlier_share=(number % 3) / 3,
            )
        )
    return rows


@settings(max_examples=60)
@given(st.lists(st.integers(1, 9), max_size=70), st.sampled_from([2, 4, 10]))
def test_thinning_keeps_totals(sizes: list[int], max_rows: int) -> None:
    log = MetricsLog(max_rows)
    rows = rows_of(sizes)
    for number, row in enumerate(rows):
        log.add(row)
        assert len(log) <= max_rows
        assert log.table()["examples"][-1].as_py() == rows[number].examples
    table = log.table()
    assert table.schema.names == METRICS_SCHEMA.names
    groups = [rows[i : i + log.batches_per_row] for i in range(0, len(rows), log.batches_per_row)]
    sized = [sizes[i : i + log.batches_per_row] for i in range(0, len(rows), log.batches_per_row)]
    assert table["examples"].to_pylist() == [g[-1].examples for g in groups]
    assert table["accuracy"].to_pylist() == [g[-1].accuracy for g in groups]
    assert table["memory_mb"].to_pylist() == [max(r.memory_mb or 0 for r in g) for g in groups]
    rates = [sum(s) / (0.1 * len(s)) for s in sized]
    np.testing.assert_allclose(table["examples_per_second"].to_pylist(), rates)
    shares = [
        np.average([r.outlier_share or 0 for r in g], weights=s) for g, s in zip(groups, sized, strict=True)
    ]
    np.testing.assert_allclose(table["outlier_share"].to_pylist(), shares)


@pytest.mark.parametrize("cut", [0, 3, 4, 17, 50])
def test_a_log_continues_through_parquet(cut: int, tmp_path: Path) -> None:
    rows = rows_of([1, 2, 3, 4, 5] * 12)
    whole, first = MetricsLog(8), MetricsLog(8)
    for row in rows:
        whole.add(row)
    for row in rows[:cut]:
        first.add(row)
    pq.write_table(first.table(), tmp_path / "metrics.parquet")
    second = MetricsLog.from_table(pq.read_table(tmp_path / "metrics.parquet"))
    for row in rows[cut:]:
        second.add(row)
    assert second.table().equals(whole.table(), check_metadata=True)


def test_none_stays_none() -> None:
    log = MetricsLog(2)
    for number in range(5):
        log.add(MetricsRow(examples=number, seconds=1.0, memory_mb=5.0 if number == 1 else None))
    table = log.table()
    assert table["accuracy"].null_count == table["outlier_share"].null_count == len(log)
    assert table["memory_mb"].to_pylist()[0] == 5.0


def test_row_from_a_summary() -> None:
    scores = PrequentialScores()
    scores.update([Prediction("a", ("a",), np.ones(1))], ["a"])
    row = MetricsRow.from_summary(scores.summary(), examples=1, seconds=0.5, num_classes=1)
    assert (row.accuracy, row.rolling_accuracy, row.macro_f1, row.log_loss) == (1.0, 1.0, 1.0, 0.0)


def test_wrong_arguments() -> None:
    for wrong in (0, 3):
        with pytest.raises(ConfigError, match=f"max_rows must be even and at least 2, not {wrong}"):
            MetricsLog(wrong)
    with pytest.raises(StateError, match="damaged"):
        MetricsLog.from_table(pa.table({"examples": [1]}))
