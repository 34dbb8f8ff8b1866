"""The next token of documents, by a causal language model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from everlearn.errors import RunError
from everlearn.journal.deletion.dropped_texts import TextRule
from everlearn.journal.records import NO_TARGET
from everlearn.learning.language import LanguageLearner
from everlearn.learning.language.reading import place_of
from everlearn.learning.run_learner import RunLearner
from everlearn.settings import RunConfig, StreamSettings
from everlearn.stream.records.chats import CHAT_FIELDS
from everlearn.stream.source import DocumentConfig, Source, SourceConfig
from everlearn.tasks.codes import refuse_codes
from everlearn.tasks.evaluation import EvaluationRequest
from everlearn.tasks.language.learner import KIND, language_learner, new_language_learner
from everlearn.tasks.origin import Origin
from everlearn.tasks.records import LearnerRecord
from everlearn.tasks.scores import RunScores
from everlearn.tasks.texts.building import text_model_of, warm_up_notes
from everlearn.tasks.texts.evaluation import LossEvaluation
from everlearn.tasks.texts.scores import LossScores
from everlearn.tasks.texts.task import LossTask
from everlearn.tasks.writing_model import WritingModel
from everlearn.types import Example

__all__ = ["Language"]


class Language(LossTask):
    """See the module."""

    name = "lm"
    whole_documents = True
    learns_targets = False
    predicts = False
    version_scores = ("prequential_bits_per_byte", "test_bits_per_byte")

    def source_config(
        self, settings: StreamSettings, *, text_optional: bool = False, with_targets: bool = True
    ) -> SourceConfig:
        """Documents and chats."""
        general = super().source_config(settings, with_targets=with_targets)
        limits = {} if settings.max_record_bytes is None else {"max_record_bytes": settings.max_record_bytes}
        return replace(
            general,
            fields=replace(general.fields, messages="messages"),
            documents=DocumentConfig(
                split=settings.documents, max_piece_bytes=settings.piece_bytes, **limits
            ),
        )

    def arriving(self, examples: Sequence[Example]) -> Sequence[Example]:
        """Nothing is to be waited for.

        An example without target counts as one whose target is still to come. A document needs none.
        """
        return [
            example if example.target is not None else example.with_target(NO_TARGET) for example in examples
        ]

    def group_of(self, example: Example) -> str:
        """The document's name."""
        return place_of(example).document

    def text_rule(self) -> TextRule:
        """What chats are made of is text, too."""
        return TextRule(fields=frozenset({"messages", "tools"}) | CHAT_FIELDS, targets=True)

    def new_learner(
        self, config: RunConfig, source: Source | None, origin: Origin
    ) -> tuple[RunLearner, LearnerRecord]:
        """See Task."""
        refuse_codes(source)
        return new_language_learner(config, self.model_name(config))

    def learner(self, config: RunConfig, record: LearnerRecord, origin: Origin) -> RunLearner:
        """See Task."""
        if record.kind != KIND:
            raise self.unknown_kind(record, origin.owner)
        return language_learner(config, record, self.model_name(config))

    def bleu_tokenizer(self, config: RunConfig) -> str | None:
        """See LossTask."""
        return None

    def evaluation(self, request: EvaluationRequest) -> LossEvaluation:
        """See Task."""
        return LossEvaluation(request, self.bleu_tokenizer(request.config))

    def check_predicts(self, owner: str) -> None:
        """See Task."""
        raise RunError(
            f"{owner} holds a language model, which has no labels to predict; `everlearn generate` writes "
            "with it, `everlearn evaluate` says how well it predicts a text"
        )

    def writing_model(self, learner: RunLearner, owner: str) -> WritingModel:
        """See Task."""
        assert isinstance(learner, LanguageLearner), "a run of this task has such a learner"
        return text_model_of(learner, learner.tokenizer)

    def notes(self, learner: RunLearner, scores: RunScores, config: RunConfig, *, is_over: bool) -> list[str]:
        """What became of the vocabulary, and of the warm-up."""
        assert isinstance(scores, LossScores), "a run of this task has such scores"
        assert isinstance(learner, LanguageLearner), "a run of this task has such a learner"
        vocabulary, notes = config.learner.vocabulary, []
        if scores.growth is not None:
            text = str(scores.growth)
            notes.append(f"{text[0].upper()}{text[1:]}.")
        elif vocabulary.words:
            notes.append(
                "The vocabulary has not grown yet: it does at the next text after "
                f"{vocabulary.watch_bytes:,} bytes "
                "(learner.vocabulary.watch_bytes)."
            )
        return notes + (warm_up_notes(learner) if is_over else [])

    def nothing_learned(self, source: str, num_examples: int, config: RunConfig) -> str:
        """See Task."""
        return (
            f"{source}: all of its {num_examples:,} examples are held back for the guard's exams, so nothing "
            "was learned; hold back less (--guard-share), or learn more text"
        )
