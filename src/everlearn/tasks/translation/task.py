"""A text for a text, by an encoder-decoder."""

from __future__ import annotations

from dataclasses import replace

from everlearn.errors import ConfigError
from everlearn.journal.deletion.dropped_texts import TextRule
from everlearn.learning.run_learner import RunLearner
from everlearn.learning.seq2seq import Seq2SeqLearner
from everlearn.settings import RunConfig, StreamSettings
from everlearn.stream.source import Source, SourceConfig
from everlearn.tasks.answer import PredictedText
from everlearn.tasks.codes import refuse_codes
from everlearn.tasks.evaluation import EvaluationRequest
from everlearn.tasks.origin import Origin
from everlearn.tasks.records import LearnerRecord
from everlearn.tasks.scores import RunScores
from everlearn.tasks.texts.building import text_model_of, warm_up_notes
from everlearn.tasks.texts.evaluation import LossEvaluation
from everlearn.tasks.texts.task import LossTask
from everlearn.tasks.translation.learner import KIND, new_seq2seq_learner, seq2seq_learner
from everlearn.tasks.writing_model import WritingModel
from everlearn.types import Example, Prediction

__all__ = ["Translation"]


class Translation(LossTask):
    """See the module."""

    name = "seq2seq"
    version_scores = ("prequential_bits_per_byte", "test_bits_per_byte", "prequential_bleu", "test_bleu")

    def source_config(
        self, settings: StreamSettings, *, text_optional: bool = False, with_targets: bool = True
    ) -> SourceConfig:
        """Texts may be called ``source``, too."""
        general = super().source_config(settings, text_optional=text_optional, with_targets=with_targets)
        alternatives = ("source",) if settings.text_field == ("text",) else ()
        return replace(general, fields=replace(general.fields, text_alternatives=alternatives))

    def text_rule(self) -> TextRule:
        """What a pair is made of is text, too."""
        return TextRule(fields=frozenset({"source", "text"}), targets=True)

    def new_learner(
        self, config: RunConfig, source: Source | None, origin: Origin
    ) -> tuple[RunLearner, LearnerRecord]:
        """See Task."""
        refuse_codes(source)
        return new_seq2seq_learner(config, self.model_name(config))

    def learner(self, config: RunConfig, record: LearnerRecord, origin: Origin) -> RunLearner:
        """See Task."""
        if record.kind != KIND:
            raise self.unknown_kind(record, origin.owner)
        return seq2seq_learner(config, record, self.model_name(config))

    def bleu_tokenizer(self, config: RunConfig) -> str | None:
        """See LossTask."""
        return config.learner.translation.bleu_tokenizer

    def evaluation(self, request: EvaluationRequest) -> LossEvaluation:
        """See Task."""
        if request.adapt:
            raise ConfigError("adapt is for language models: targets of pairs come after their predictions")
        return LossEvaluation(request, self.bleu_tokenizer(request.config))

    def answer(self, example: Example, prediction: Prediction, top: int) -> PredictedText:
        """See Task."""
        return PredictedText.of(example, prediction, top, is_translation=True)

    def writing_model(self, learner: RunLearner, owner: str) -> WritingModel:
        """See Task."""
        assert isinstance(learner, Seq2SeqLearner), "a run of this task has such a learner"
        return text_model_of(learner, learner.seq2seq_model.tokenizer)

    def notes(self, learner: RunLearner, scores: RunScores, config: RunConfig, *, is_over: bool) -> list[str]:
        """What became of the warm-up."""
        assert isinstance(learner, Seq2SeqLearner), "a run of this task has such a learner"
        return warm_up_notes(learner) if is_over else []
