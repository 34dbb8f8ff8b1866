"""The metrics table of a language model or a translator: one row a batch, thinned to bounded memory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace

import pyarrow as pa

from everlearn.errors import StateError
from everlearn.evaluation.metrics import joint_rate
from everlearn.evaluation.thinned_rows import ThinnedRows
from everlearn.types import Json

__all__ = ["MAX_SHOWN_DOMAINS", "TEXT_METRICS_SCHEMA", "TextMetricsLog", "TextMetricsRow", "summary_columns"]

_METADATA_KEY = b"everlearn.text_metrics"
_COUNTS = ("examples", "tokens", "bytes", "skipped")
_BY_DOMAIN = "domain_bits_per_byte"

# A column of all domains in each of thousands of rows must stay small.
MAX_SHOWN_DOMAINS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class TextMetricsRow:
    """How a run stood after a batch. None where a figure is undefined.

    Attributes:
        examples: Examples of the stream so far.
        tokens: Tokens predicted so far.
        bytes: UTF-8 bytes of text predicted so far.
        seconds: Seconds since the start.
        skipped: Updates left out so far.
        bits_per_byte: Prequential, so far.
        rolling_bits_per_byte: The same over the last bytes.
        loss: Training loss of the batch in nats a token; the mean where rows were merged.
        gradient_norm: Before clipping; the highest where rows were merged, so that spikes stay.
        tokens_per_second: Throughput of the batch (or batches) of this row.
        memory_mb: Resident memory in MB (10⁶ bytes); the highest where rows were merged.
        bleu: Prequential BLEU so far, 0…100; the next three likewise.
        chrf: chrF so far.
        rolling_bleu: BLEU over the last pairs.
        rolling_chrf: chrF over the last pairs.
        domain_bits_per_byte: By domain, over the last bytes of each; the 20 largest domains.
    """

    examples: int
    tokens: int
    bytes: int
    seconds: float
    skipped: int = 0
    bits_per_byte: float | None = None
    rolling_bits_per_byte: float | None = None
    loss: float | None = None
    gradient_norm: float | None = None
    tokens_per_second: float | None = None
    memory_mb: float | None = None
    bleu: float | None = None
    chrf: float | None = None
    rolling_bleu: float | None = None
    rolling_chrf: float | None = None
    domain_bits_per_byte: Mapping[str, float] = field(default_factory=dict)


def summary_columns(
    text: Mapping[str, Json], translation: Mapping[str, Json] | None = None
) -> dict[str, Json]:
    """The columns of a row that ``TextScores.summary()`` and ``TranslationScores.summary()`` say."""
    largest = sorted(text["domains"].items(), key=lambda item: -item[1]["bytes"])[:MAX_SHOWN_DOMAINS]
    by_domain = {name: figures["rolling_bits_per_byte"] for name, figures in largest}
    pairs = translation or {}
    return {
        **{name: text[name] for name in ("tokens", "bytes", "bits_per_byte", "rolling_bits_per_byte")},
        **{name: pairs.get(name) for name in ("bleu", "chrf", "rolling_bleu", "rolling_chrf")},
        _BY_DOMAIN: {name: bits for name, bits in by_domain.items() if bits is not None},
    }


def _type_of(name: str) -> pa.DataType:
    if name == _BY_DOMAIN:
        return pa.map_(pa.string(), pa.float64())
    return pa.int64() if name in _COUNTS else pa.float64()


TEXT_METRICS_SCHEMA = pa.schema([pa.field(f.name, _type_of(f.name)) for f in fields(TextMetricsRow)])
"""Columns of the table, named as the attributes of ``TextMetricsRow``."""


class TextMetricsLog:
    """Collects rows and halves their number, by merging neighbours, whenever there are too many.

    Example:
        >>> log = TextMetricsLog(max_rows=4)
        >>> for batch in range(1, 11):
        ...     log.add(TextMetricsRow(examples=batch, tokens=30 * batch, bytes=99 * batch, seconds=1.0))
        >>> log.table()["tokens"].to_pylist()
        [120, 240, 300]

    Args:
        max_rows: The table never has more rows; even, at least 2.

    Raises:
        ConfigError: ``max_rows`` is odd or below 2.
    """

    def __init__(self, max_rows: int = 4000) -> None:
        self._thinned: ThinnedRows[TextMetricsRow] = ThinnedRows(_merged, max_rows)

    def __len__(self) -> int:
        return len(self._thinned.rows)

    def add(self, row: TextMetricsRow) -> None:
        """Add the row of the batch just done."""
        self._thinned.add(row)

    def table(self) -> pa.Table:
        """The rows as a table; its metadata let ``from_table`` go on where this one stands."""
        columns = {
            name: [getattr(row, name) for row in self._thinned.rows] for name in TEXT_METRICS_SCHEMA.names
        }
        columns[_BY_DOMAIN] = [list(by_domain.items()) for by_domain in columns[_BY_DOMAIN]]
        metadata = {_METADATA_KEY: json.dumps(self._thinned.metadata()).encode()}
        return pa.table(columns, schema=TEXT_METRICS_SCHEMA.with_metadata(metadata))

    @classmethod
    def from_table(cls, table: pa.Table) -> TextMetricsLog:
        """Continue from a table that ``table`` gave, also after it went through Parquet.

        Raises:
            StateError: The table was not written by this class or is damaged.
        """
        try:
            metadata = json.loads((table.schema.metadata or {})[_METADATA_KEY])
            log = cls(metadata["max_rows"])
            rows = table.select(TEXT_METRICS_SCHEMA.names).to_pylist()
            log._thinned.restore(
                [TextMetricsRow(**row | {_BY_DOMAIN: dict(row[_BY_DOMAIN])}) for row in rows], metadata
            )
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"the metrics table is damaged: {error!r}") from error
        return log


def _merged(before: TextMetricsRow | None, first: TextMetricsRow, second: TextMetricsRow) -> TextMetricsRow:
    num_first = first.tokens - (0 if before is None else before.tokens)
    num_second = second.tokens - first.tokens
    return replace(
        second,
        loss=_joint_mean(num_first, first.loss, num_second, second.loss),
        gradient_norm=_highest(first.gradient_norm, second.gradient_norm),
        tokens_per_second=joint_rate(
            num_first, first.tokens_per_second, num_second, second.tokens_per_second
        ),
        memory_mb=_highest(first.memory_mb, second.memory_mb),
    )


def _highest(*values: float | None) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _joint_mean(num_a: int, mean_a: float | None, num_b: int, mean_b: float | None) -> float | None:
    """Mean over two stretches together."""
    if mean_a is None or mean_b is None or num_a + num_b == 0:
        return mean_a if mean_b is None else mean_b
    return (num_a * mean_a + num_b * mean_b) / (num_a + num_b)
