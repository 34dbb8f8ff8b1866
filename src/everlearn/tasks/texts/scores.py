"""What a run of a language model or a translator knows of its quality: an observer like ``RunScores``."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Collection

import psutil
import pyarrow as pa

from everlearn.config import RunConfig
from everlearn.evaluation.text_metrics import MAX_SHOWN_DOMAINS, TextMetricsLog, TextMetricsRow
from everlearn.evaluation.text_scores import DomainMatrix, TextScores
from everlearn.evaluation.translation_scores import TranslationScores
from everlearn.tasks.batch_result import BatchResult
from everlearn.tasks.classification.scores import RunScores
from everlearn.tasks.records import Counts, RunStatus
from everlearn.types import Json, VocabularyGrowth

__all__ = ["AnyRunScores", "TextRunScores", "rolling_text", "run_scores"]

_MEGABYTE = 1e6
_BYTES_PER_EXAMPLE = 1_000
"""Rolling windows are given in examples; of text, one stands for so many bytes."""
_MAX_SAMPLES = 12


class TextRunScores:
    """Prequential bits per byte and, of pairs, BLEU and chrF; and the metrics table of a run.

    Args:
        rolling_window: Examples of the rolling scores; of bits per byte, thousands of bytes.
        bleu_tokenizer: sacrebleu's, for targets; None: the run has no targets.

    Attributes:
        counts: Examples by what became of them.
        is_past: Whether the steps that come were made before and are only folded again.
        rolling: The newest rolling score, for display: bits per byte, or BLEU.
        matrix: Bits per byte of each domain after each, where a test set was given.
        growth: What the vocabulary gained, where it was to grow and has tried.
        samples: Ids of pairs that were translated along the way, and how many examples had come by then.
            What was written lies in the journal alone.
    """

    def __init__(self, rolling_window: int, bleu_tokenizer: str | None = None) -> None:
        self.counts = Counts()
        self.text = TextScores(rolling_window * _BYTES_PER_EXAMPLE)
        self.pairs = (
            None if bleu_tokenizer is None else TranslationScores(bleu_tokenizer, window=rolling_window)
        )
        self.metrics = TextMetricsLog()
        self.matrix: DomainMatrix | None = None
        self.labels: set[str] = set()
        self.rolling: float | None = None
        self.memory_mb = 0.0
        self.examples_per_second = 0.0
        self.num_skipped = 0
        self.growth: VocabularyGrowth | None = None
        self.samples: list[dict[str, Json]] = []
        self.is_past = False
        self._process = psutil.Process()
        self._start = time.perf_counter()
        self._last = time.perf_counter()

    @property
    def rolling_accuracy(self) -> None:
        """Text is not right or wrong."""
        return None

    def __call__(self, result: BatchResult) -> None:
        """Take in one step of the loop."""
        report = result.report
        self.counts.rejected += result.num_rejected
        self.counts.examples += len(result.examples)
        if report is not None:
            self.counts.learned += report.num_learned - result.num_unlearned
            self.counts.without_target += report.num_without_target - result.num_late_targets
            self.text.update(report.text_losses)
            self.num_skipped += report.skipped is not None
            self.growth = report.grown or self.growth
        if self.pairs is not None and result.examples:
            self._take_pairs(result, self.pairs)
        now = time.perf_counter()
        elapsed, self._last = max(now - self._last, 1e-9), now
        self.examples_per_second = len(result.examples) / elapsed
        self.memory_mb = self._process.memory_info().rss / _MEGABYTE
        if report is None or not report.num_tokens:
            return
        text = self.text.summary(max_domains=MAX_SHOWN_DOMAINS)
        pairs = None if self.pairs is None else self.pairs.summary(max_domains=0)
        self.rolling = text["rolling_bits_per_byte"] if pairs is None else pairs["rolling_bleu"]
        self.metrics.add(
            TextMetricsRow.from_summaries(
                text,
                pairs,
                examples=self.counts.examples,
                seconds=now - self._start,
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

    def rest(self) -> None:
        """Leave out of the throughput what happened since the last batch (saving, testing, waiting)."""
        self._last = time.perf_counter()

    def figures(self) -> dict[str, Json]:
        """Prequential figures by the names that summaries and reports use."""
        text = self.text.summary(max_domains=0)
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
        return figures

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

    def restore(self, status: RunStatus) -> None:
        """Go on from what a checkpoint kept. Raises StateError where it is damaged."""
        self.counts = status.counts.model_copy()
        self._start = time.perf_counter() - status.seconds.total
        saved = status.scores
        if not saved:
            return
        self.text.restore(saved["text"])
        if self.pairs is not None:
            self.pairs.restore(saved["pairs"])
        self.matrix = None if saved["matrix"] is None else DomainMatrix.from_json(saved["matrix"])
        self.num_skipped = int(saved["skipped"])
        # Those of before spelled their texts and did not say whose they were.
        self.samples = [one for one in saved["samples"] if "id" in one]
        self.growth = None if "growth" not in saved else VocabularyGrowth.from_json(saved["growth"])

    def restore_metrics(self, table: pa.Table) -> None:
        """Go on from the metrics table of the run folder, which may be newer than the checkpoint.

        Raises:
            KeyError: It has other columns.
            TypeError: Columns of other types.
            StateError: It is damaged.
        """
        # Comparing in Arrow would import pandas.
        within = bisect_right(table["bytes"].to_pylist(), self.text.summary(max_domains=0)["bytes"])
        self.metrics = TextMetricsLog.from_table(table.slice(0, within))


AnyRunScores = RunScores | TextRunScores
"""Scores of a run, whatever its task."""


def run_scores(config: RunConfig) -> AnyRunScores:
    """Fresh scores for a run's task.

    Raises:
        MissingExtraError: Of translations, without sacrebleu.
    """
    window = config.run.rolling_window
    if config.task == "classify":
        return RunScores(window)
    tokenizer = config.learner.translation.bleu_tokenizer if config.task == "seq2seq" else None
    return TextRunScores(window, tokenizer)


def rolling_text(scores: AnyRunScores) -> str | None:
    """The newest rolling score of texts, for display."""
    if not isinstance(scores, TextRunScores) or scores.rolling is None:
        return None
    return f"{scores.rolling:.3f} bits/byte" if scores.pairs is None else f"BLEU {scores.rolling:.1f}"
