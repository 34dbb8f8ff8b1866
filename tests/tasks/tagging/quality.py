"""How well words are tagged: prequentially, on a test set, on exams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from everlearn.evaluation.confusion import Confusion
from everlearn.evaluation.paired import PairedTest, compare_paired
from everlearn.evaluation.report.reported_run import ReportedRun
from everlearn.journal.journal import Journal
from everlearn.learning.run_learner import RunLearner
from everlearn.stream.order import Experience
from everlearn.stream.source import Source
from everlearn.tasks.batch_result import BatchResult
from everlearn.tasks.evaluation import EvaluationRequest
from everlearn.tasks.exam_rows import ExamRows, balanced
from everlearn.tasks.exams import Compared, Examined, Exams
from everlearn.tasks.held_out import HeldOut
from everlearn.tasks.reading import read_all
from everlearn.tasks.records import Seconds
from everlearn.tasks.scores import RunScores, Tested
from everlearn.types import Example, Json, Prediction, Predictor

__all__ = ["TagEvaluation", "TagExams", "TagHeldOut", "TagScores"]


def share_right(predictions: Sequence[Prediction], examples: Sequence[Example]) -> tuple[int, int]:
    """Words tagged right, and all words with a tag."""
    right = total = 0
    for prediction, example in zip(predictions, examples, strict=True):
        tags, said = (example.target or "").split(), (prediction.label or "").split()
        total += len(tags)
        right += sum(one == other for one, other in zip(tags, said, strict=False))
    return right, total


class TagScores(RunScores):
    def __init__(self) -> None:
        super().__init__()
        self.right = self.total = 0

    @property
    def rolling_text(self) -> str:
        return f"{self.right:,} of {self.total:,} words"

    def __call__(self, result: BatchResult) -> None:
        self._count(result)
        self._measure(result)
        right, total = share_right(result.predictions, result.examples)
        self.right, self.total = self.right + right, self.total + total

    def to_json(self) -> dict[str, Json]:
        return {"right": self.right, "total": self.total}

    def restore_saved(self, saved: Mapping[str, Any]) -> None:
        self.right, self.total = saved["right"], saved["total"]

    def metrics_table(self) -> pa.Table:
        return pa.table({"right": [self.right], "total": [self.total]})

    def restore_metrics(self, table: pa.Table) -> None:
        """It holds nothing that the checkpoint does not."""

    def figures(self, seconds: Seconds, *, num_classes: int, tested: Mapping[str, Json]) -> dict[str, Json]:
        return {"words": self.total, "prequential_tags": self.right / max(self.total, 1), **tested}

    def write_files(
        self, folder: Path, run: ReportedRun, journal: Journal, confusion: Confusion | None
    ) -> None:
        (folder / "report.html").write_text(
            f"<title>{run.title}</title>{self.right} of {self.total}", encoding="utf-8"
        )


class TagHeldOut(HeldOut):
    def __init__(self, source: Source) -> None:
        examples, self.rejected = read_all(source)
        self.num_records = len(examples) + len(self.rejected)
        self._examples = [example for example in examples if example.target is not None]

    def __len__(self) -> int:
        return len(self._examples)

    def test(self, learner: RunLearner) -> Tested:
        right, total = share_right(learner.predict(self._examples), self._examples)
        return Tested(figures={"test_tags": right / total})

    def after_experience(
        self, learner: RunLearner, matrix: Any, experiences: Sequence[Experience], order: str, index: int
    ) -> None:
        return None


class TagExams(Exams[int]):
    def __init__(self, journal: Journal, recent: int, long_term: int) -> None:
        self._journal, self._sizes = journal, (recent, long_term)
        self._rows = ExamRows(journal, lambda domain, _: (domain,), need_text=True)

    def choose(self, first_offset: int | None = None) -> tuple[list[int], list[int]]:
        self._rows.refresh()
        rows, (recent, long_term) = self._rows.rows, self._sizes
        if first_offset is not None:  # whatever comes makes the counts better at its like
            rows = rows[rows["offset"] < first_offset]
        return rows["offset"][-recent:].tolist(), rows["offset"][balanced(rows, long_term)].tolist()

    def since(self, first_offset: int) -> list[int]:
        self._rows.refresh()
        offsets: list[int] = self._rows.rows["offset"].tolist()
        return [offset for offset in offsets if offset >= first_offset]

    def needed(self, first_offset: int) -> set[int]:
        return {*self.since(1)}

    def compare(
        self,
        live: Examined,
        candidate: Examined,
        items: Sequence[int],
        *,
        tolerance: float,
        test: PairedTest,
    ) -> Compared:
        examples = [example for one in items if (example := self._journal.examples.at(one)) is not None]
        paired = compare_paired(
            _all_right(live.predictor, examples),
            _all_right(candidate.predictor, examples),
            tolerance=tolerance,
            test=test,
        )
        return Compared(
            num_examples=paired.num_examples,
            lost=paired.lost,
            won=paired.won,
            p_value=paired.p_value,
            change=f"{paired.lost} texts lost",
            scores={"texts_right": paired.candidate_accuracy},
            numbers=paired.to_json(),
        )


class TagEvaluation:
    def __init__(self, request: EvaluationRequest) -> None:
        self._held_out = TagHeldOut(request.open_sources()[0])

    def figures(self, learner: RunLearner) -> dict[str, Json]:
        figures = dict(self._held_out.test(learner).figures)
        return {**figures, "examples": len(self._held_out), "rejected": 0, "too_many_rejected": None}


def _all_right(predictor: Predictor, examples: Sequence[Example]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return np.array(
        [
            one.label == example.target
            for one, example in zip(predictor.predict(examples), examples, strict=True)
        ],
        dtype=np.bool_,
    )
