"""The task's object."""

from __future__ import annotations

from tests.tasks.tagging.learner import TagCounts
from tests.tasks.tagging.quality import TagEvaluation, TagExams, TagHeldOut, TagScores

from everlearn.journal.journal import Journal
from everlearn.learning.run_learner import RunLearner
from everlearn.settings import GuardSettings, RunConfig
from everlearn.stream.source import Source
from everlearn.tasks.evaluation import EvaluationRequest
from everlearn.tasks.origin import Origin
from everlearn.tasks.records import LearnerRecord
from everlearn.tasks.task import Task

__all__ = ["Tagging"]


class Tagging(Task):
    name = "tag"
    version_scores = ("prequential_tags", "test_tags")

    def default_model(self) -> str:
        return "none"

    def new_learner(
        self, config: RunConfig, source: Source | None, origin: Origin
    ) -> tuple[RunLearner, LearnerRecord]:
        return TagCounts(), LearnerRecord(kind="tag-counts")

    def learner(self, config: RunConfig, record: LearnerRecord, origin: Origin) -> RunLearner:
        return TagCounts()

    def scores(self, config: RunConfig) -> TagScores:
        return TagScores()

    def held_out(self, source: Source, config: RunConfig) -> TagHeldOut:
        return TagHeldOut(source)

    def exams(self, journal: Journal, settings: GuardSettings, *, reads_text: bool) -> TagExams:
        return TagExams(journal, settings.recent, settings.long_term)

    def evaluation(self, request: EvaluationRequest) -> TagEvaluation:
        return TagEvaluation(request)
