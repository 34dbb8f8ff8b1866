"""Several labels for a text, or none of them, by the closed-form learner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from everlearn.errors import ConfigError, RunError
from everlearn.label_set import labels_in, set_problem, written_set
from everlearn.learning.closed_form.label_sets.learner import LabelSetLearner
from everlearn.learning.run_learner import RunLearner
from everlearn.settings import RunConfig, StreamSettings
from everlearn.stream.source import Source, SourceConfig
from everlearn.tasks.answer import PredictedText
from everlearn.tasks.classification import closed_form
from everlearn.tasks.classification.multilabel.quality import SetEvaluation, SetHeldOut
from everlearn.tasks.classification.multilabel.recognise import begins_with_lists
from everlearn.tasks.classification.multilabel.scores import SetRunScores
from everlearn.tasks.classification.task import Classification
from everlearn.tasks.evaluation import EvaluationRequest
from everlearn.tasks.origin import Origin
from everlearn.tasks.records import LearnerRecord
from everlearn.types import Example, Prediction

__all__ = ["MultiLabel"]


class MultiLabel(Classification):
    """See the module. A target is a set of labels as ``everlearn.label_set`` writes it."""

    name = "multilabel"
    targets_are_sets = True
    version_scores = ("prequential_micro_f1", "prequential_subset_accuracy", "test_micro_f1")

    def source_config(
        self, settings: StreamSettings, *, text_optional: bool = False, with_targets: bool = True
    ) -> SourceConfig:
        """See Task."""
        general = super().source_config(settings, text_optional=text_optional, with_targets=with_targets)
        return replace(general, fields=replace(general.fields, several_labels=True))

    def is_begun_by(self, spec: str, settings: StreamSettings) -> bool:
        """See Task: where lists of labels come."""
        return begins_with_lists(spec, self.source_config(settings, text_optional=True))

    def arriving(self, examples: Sequence[Example]) -> Sequence[Example]:
        """See Task: a single label is a list of one."""
        return [
            example
            if example.target is None or set_problem(example.target) is not None
            else example.with_target(written_set(labels_in(example.target)))
            for example in examples
        ]

    def labels_of(self, target: str) -> Sequence[str]:
        """See Task."""
        return labels_in(target)

    def target_problem(self, target: str) -> str | None:
        """See Task: a list with something in it that is no label."""
        return set_problem(target)

    def new_learner(
        self, config: RunConfig, source: Source | None, origin: Origin
    ) -> tuple[RunLearner, LearnerRecord]:
        """See Task."""
        return closed_form.new_closed_form_learner(config, source, origin.models, LabelSetLearner)

    def learner(self, config: RunConfig, record: LearnerRecord, origin: Origin) -> RunLearner:
        """See Task."""
        if record.kind != closed_form.KIND:
            raise self.unknown_kind(record, origin.owner)
        return closed_form.closed_form_learner(config, record, origin, LabelSetLearner)

    def scores(self, config: RunConfig) -> SetRunScores:
        """See Task."""
        return SetRunScores(config.run.rolling_window)

    def held_out(self, source: Source, config: RunConfig) -> SetHeldOut:
        """See Task."""
        return SetHeldOut(source)

    def evaluation(self, request: EvaluationRequest) -> SetEvaluation:
        """See Task."""
        if len(request.specs) > 1 or request.adapt or request.forget_documents:
            raise ConfigError(f"{request.run} is a classifier's run: give one FILE, without --adapt")
        return SetEvaluation(request.open_sources()[0], request.config)

    def answer(self, example: Example, prediction: Prediction, top: int) -> PredictedText:
        """See Task: with all labels that are predicted, however many."""
        said = None if prediction.label is None else labels_in(prediction.label)
        return replace(PredictedText.of(example, prediction, top), labels=said)

    def check_consolidates(self, owner: str) -> None:
        """See Task."""
        raise RunError(
            f"{owner} learns several labels an example, and a trunk is tuned by single labels: "
            "consolidate a run of single labels, or learn here with another encoder (--model) in a new run"
        )

    def check_replays(self, owner: str) -> None:
        """See Task."""
        raise RunError(
            f"{owner} learns several labels an example, and replay compares learners of single labels; learn "
            "the stream into a new folder with other settings and compare the two reports"
        )
