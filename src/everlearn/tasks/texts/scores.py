"""Scores of a stream of texts: prequential bits per byte and, of pairs, BLEU and chrF."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from everlearn.evaluation.confusion import Confusion
from everlearn.evaluation.report.page import write_page
from everlearn.evaluation.report.reported_run import ReportedRun
from everlearn.evaluation.report.texts import language_report_html
from everlearn.evaluation.text_metrics import (
    MAX_SHOWN_DOMAINS,
    TextMetricsLog,
    TextMetricsRow,
    summary_columns,
)
from everlearn.evaluation.text_scores import DomainMatrix, TextScores
from everlearn.evaluation.translation_scores import TranslationScores
from everlearn.journal.journal import Journal
from everlearn.tasks.batch_result import BatchResult
from everlearn.tasks.records import Seconds
from everlearn.tasks.scores import RunScores
from everlearn.tasks.texts.samples import shown_samples
from everlearn.types import Json, VocabularyGrowth

__all__ = ["LossScores"]

_BYTES_PER_EXAMPLE = 1_000
"""Rolling windows are given in examples; of text, one stands for so many bytes."""
_MAX_SAMPLES = 12


class LossScores(RunScores):
    """Prequential bits per byte and, of pairs, BLEU and chrF; and the metrics table of a run.

    Args:
        rolling_window: Examples of the rolling scores; of bits per byte, thousands of bytes.
        bleu_tokenizer: sacrebleu's, for targets; None: the run has no targets.

    Attributes:
        rolling: The newest rolling score: bits per byte, or BLEU.
        growth: What the vocabulary gained, where it was to grow and has tried.
        samples: Ids of pairs that were translated along the way, and how many examples had come by then.
            What was written lies in the journal alone.
    """

    matrix: DomainMatrix | None

    def __init__(self, rolling_window: int, bleu_tokenizer: str | None = None) -> None:
        super().__init__()
        self.text = TextScores(rolling_window * _BYTES_PER_EXAMPLE)
        self.pairs = (
            None if bleu_tokenizer is None else TranslationScores(bleu_tokenizer, window=rolling_window)
        )
        self.matrix = None
        self.rolling: float | None = None
        self.num_skipped = 0
        self.growth: VocabularyGrowth | None = None
        self.samples: list[dict[str, Json]] = []
        self._metrics = TextMetricsLog()

    @property
    def rolling_text(self) -> str | None:
        """The newest rolling score, for display."""
        if self.rolling is None:
            return None
        return f"{self.rolling:.3f} bits/byte" if self.pairs is None else f"BLEU {self.rolling:.1f}"

    def __call__(self, result: BatchResult) -> None:
        """Take in one step of the loop."""
        self._count(result)
        report = result.report
        if report is not None:
            self.text.update(report.text_losses)
            self.num_skipped += report.skipped is not None
            self.growth = report.grown or self.growth
        if self.pairs is not None and result.examples:
            self._take_pairs(result, self.pairs)
        seconds, elapsed = self._measure(result)
        if report is None or not report.num_tokens:
            return
        text = self.text.summary(max_domains=MAX_SHOWN_DOMAINS)
        pairs = None if self.pairs is None else self.pairs.summary(max_domains=0)
        self.rolling = text["rolling_bits_per_byte"] if pairs is None else pairs["rolling_bleu"]
        self._metrics.add(
            TextMetricsRow(
                **summary_columns(text, pairs),
                examples=self.counts.examples,
                seconds=seconds,
                skipped=self.num_skipped,
                loss=report.loss,
                gradient_norm=report.gradient_norm,
                tokens_per_second=None if self.is_past else report.num_tokens / elapsed,
                memory_mb=self.memory_mb,
            )
        )

    def _take_pairs(self, result: BatchResult, pairs: TranslationScores) -> None:
        written = [one.label or "" for one in result.predictions]
        targets = [one.target for one in result.examples]
        pairs.update(written, targets, [one.domain for one in result.examples])
        first = result.examples[0]
        # The first of ever rarer batches, so that few samples tell of all the stream.
        if self.counts.examples >= 2 * (self.samples[-1]["examples"] if self.samples else 0):
            sample: dict[str, Json] = {"id": first.id, "examples": self.counts.examples}
            self.samples = [*self.samples, sample][-_MAX_SAMPLES:]

    def forget(self, ids: Collection[str]) -> None:
        """Let go of samples that are deleted."""
        self.samples = [one for one in self.samples if one["id"] not in ids]

    def figures(self, seconds: Seconds, *, num_classes: int, tested: Mapping[str, Json]) -> dict[str, Json]:
        """See RunScores."""
        text = self.text.summary(max_domains=0)
        working_seconds = seconds.encode + seconds.predict + seconds.learn
        figures: dict[str, Json] = {
            "tokens": text["tokens"],
            "bytes": text["bytes"],
            "tokens_per_byte": text["tokens_per_byte"],
            "prequential_bits_per_byte": text["bits_per_byte"],
            "rolling_bits_per_byte": text["rolling_bits_per_byte"],
            "prequential_nats_per_token": text["nats_per_token"],
            "skipped": self.num_skipped,
        }
        if self.growth is not None:
            figures |= {
                "vocabulary_words": len(self.growth.words),
                "vocabulary_saved": self.growth.share_saved,
                "vocabulary_tokens_per_word_before": {
                    name or "text": value for name, value in self.growth.tokens_per_word.items()
                },
            }
        if self.matrix is not None:
            figures |= {
                "mean_final_bits_per_byte": self.matrix.mean_final,
                "forgetting_bits_per_byte": self.matrix.forgetting,
            }
        if self.pairs is not None:
            pairs = self.pairs.summary(max_domains=0)
            figures |= {
                "prequential_bleu": pairs["bleu"],
                "prequential_chrf": pairs["chrf"],
                "rolling_bleu": pairs["rolling_bleu"],
                "bleu_signature": pairs["bleu_signature"],
            }
        return figures | {
            **tested,
            "tokens_per_second": figures["tokens"] / working_seconds if working_seconds > 0 else None,
        }

    def by_domain(self) -> dict[str, dict[str, Json]]:
        """The figures of each domain."""
        domains: dict[str, dict[str, Json]] = dict(self.text.summary()["domains"])
        if self.pairs is not None:
            for name, figures in self.pairs.summary()["domains"].items():
                domains[name] = domains.get(name, {}) | figures
        return domains

    def to_json(self) -> dict[str, Json]:
        """What is saved beside the learner's state."""
        return {
            "text": self.text.state(),
            "pairs": None if self.pairs is None else self.pairs.state(),
            "matrix": None if self.matrix is None else self.matrix.to_json(),
            "skipped": self.num_skipped,
            "samples": self.samples,
            **({} if self.growth is None else {"growth": self.growth.to_json()}),
        }

    def restore_saved(self, saved: Mapping[str, Any]) -> None:
        """See RunScores."""
        self.text.restore(saved["text"])
        if self.pairs is not None:
            self.pairs.restore(saved["pairs"])
        self.matrix = None if saved["matrix"] is None else DomainMatrix.from_json(saved["matrix"])
        self.num_skipped = int(saved["skipped"])
        # Those of before spelled their texts and did not say whose they were.
        self.samples = [sample for sample in saved["samples"] if "id" in sample]
        self.growth = None if "growth" not in saved else VocabularyGrowth.from_json(saved["growth"])

    def metrics_table(self) -> pa.Table:
        """See RunScores."""
        return self._metrics.table()

    def restore_metrics(self, table: pa.Table) -> None:
        """See RunScores."""
        # Comparing in Arrow would import pandas.
        within = bisect_right(table["bytes"].to_pylist(), self.text.summary(max_domains=0)["bytes"])
        self._metrics = TextMetricsLog.from_table(table.slice(0, within))

    def write_files(
        self, folder: Path, run: ReportedRun, journal: Journal, confusion: Confusion | None
    ) -> None:
        """See RunScores."""
        samples = shown_samples(journal, self.samples)
        page = language_report_html(run, domains=self.by_domain(), matrix=self.matrix, samples=samples)
        write_page(folder / "report.html", page)
