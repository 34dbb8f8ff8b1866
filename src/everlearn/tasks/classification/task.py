"""Labels for texts, by the closed-form learner or by gradient steps."""

from __future__ import annotations

from dataclasses import replace

from everlearn.errors import ConfigError
from everlearn.journal.journal import Journal
from everlearn.learning.run_learner import RunLearner
from everlearn.settings import GuardSettings, RunConfig, StreamSettings
from everlearn.stream.source import Source, SourceConfig
from everlearn.tasks.classification import closed_form, gradient
from everlearn.tasks.classification.evaluation import LabelEvaluation
from everlearn.tasks.classification.exams import LabelExams
from everlearn.tasks.classification.held_out import LabelHeldOut
from everlearn.tasks.classification.label_limit import label_limit
from everlearn.tasks.classification.scores import LabelScores
from everlearn.tasks.codes import refuse_codes
from everlearn.tasks.evaluation import Evaluation, EvaluationRequest
from everlearn.tasks.held_out import HeldOut
from everlearn.tasks.origin import Origin
from everlearn.tasks.records import LearnerRecord
from everlearn.tasks.scores import RunScores
from everlearn.tasks.task import Task

__all__ = ["Classification"]


class Classification(Task):
    """See the module."""

    name = "classify"
    counts_by_label = True
    version_scores = ("prequential_accuracy", "test_accuracy", "average_accuracy")

    def source_config(
        self, settings: StreamSettings, *, text_optional: bool = False, with_targets: bool = True
    ) -> SourceConfig:
        """See Task."""
        general = super().source_config(settings, text_optional=text_optional, with_targets=with_targets)
        return replace(general, fields=replace(general.fields, target_is_label=True))

    def label_limit(self, config: RunConfig, record: LearnerRecord) -> int | None:
        """See Task."""
        return label_limit(config, record)

    def new_learner(
        self, config: RunConfig, source: Source | None, origin: Origin
    ) -> tuple[RunLearner, LearnerRecord]:
        """See Task."""
        if not _by_gradients(config):
            return closed_form.new_closed_form_learner(config, source, origin.models)
        refuse_codes(source)
        record = gradient.gradient_record(config)
        return gradient.gradient_learner(config, record, self.model_name(config)), record

    def learner(self, config: RunConfig, record: LearnerRecord, origin: Origin) -> RunLearner:
        """See Task."""
        if record.kind == gradient.KIND:
            return gradient.gradient_learner(config, record, self.model_name(config))
        if record.kind != closed_form.KIND:
            raise self.unknown_kind(record, origin.owner)
        return closed_form.closed_form_learner(config, record, origin)

    def learner_like(self, config: RunConfig, record: LearnerRecord, origin: Origin) -> RunLearner:
        """See Task."""
        if _by_gradients(config):
            return gradient.gradient_learner(
                config, gradient.gradient_record(config), self.model_name(config)
            )
        return closed_form.closed_form_like(config, record, origin)

    def scores(self, config: RunConfig) -> RunScores:
        """See Task."""
        return LabelScores(config.run.rolling_window)

    def held_out(self, source: Source, config: RunConfig) -> HeldOut:
        """See Task."""
        return LabelHeldOut(source)

    def exams(self, journal: Journal, settings: GuardSettings, *, reads_text: bool) -> LabelExams:
        """See Task."""
        return LabelExams(journal, settings.recent, settings.long_term, reads_text=reads_text)

    def evaluation(self, request: EvaluationRequest) -> Evaluation:
        """See Task."""
        if len(request.specs) > 1 or request.adapt or request.forget_documents:
            raise ConfigError(f"{request.run} is a classifier's run: give one FILE, without --adapt")
        return LabelEvaluation(request.open_sources()[0], request.config)

    def check_replays(self, owner: str) -> None:
        """Labels can be compared."""


def _by_gradients(config: RunConfig) -> bool:
    return config.learner.kind == "gradient"
