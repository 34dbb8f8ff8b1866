"""A task: everything that depends on what a run learns. The rest of the program never asks which it is.

A new task is a folder with such an object, and a line in ``table.py``. What is abstract must be there; the
rest has the defaults of a task whose examples are learned one by one from what they bring.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from everlearn.errors import ConfigError, RunError
from everlearn.journal.deletion.dropped_texts import TextRule
from everlearn.journal.journal import Journal
from everlearn.learning.run_learner import RunLearner
from everlearn.settings import GuardSettings, RunConfig, StreamSettings
from everlearn.stream.source import FieldNames, Source, SourceConfig
from everlearn.tasks.answer import PredictedText
from everlearn.tasks.evaluation import Evaluation, EvaluationRequest
from everlearn.tasks.exams import Exams
from everlearn.tasks.held_out import HeldOut
from everlearn.tasks.origin import Origin
from everlearn.tasks.records import LearnerRecord
from everlearn.tasks.scores import RunScores
from everlearn.tasks.writing_model import WritingModel
from everlearn.types import Example, Json, Prediction

__all__ = ["Task"]


class Task(ABC):
    """What a run learns. One object serves all runs of its task, and keeps nothing.

    Attributes:
        name: As settings have it.
        whole_documents: Whether examples are pieces of documents, which are held back, forgotten and ordered
            as a whole.
        learns_targets: Whether another target for a known example is news; else it is a duplicate.
        predicts: Whether what is predicted of an example before it is learned is an answer to it.
        counts_by_label: Whether examples are told apart by their targets; else by their domains.
        targets_are_sets: Whether a target is a set of labels, written as ``everlearn.label_set`` does.
        scores_name_examples: Whether what is saved of scores names examples.
        version_scores: Figures of a summary that a version bears.
    """

    name: ClassVar[str]
    whole_documents: ClassVar[bool] = False
    learns_targets: ClassVar[bool] = True
    predicts: ClassVar[bool] = True
    counts_by_label: ClassVar[bool] = False
    targets_are_sets: ClassVar[bool] = False
    scores_name_examples: ClassVar[bool] = False
    version_scores: ClassVar[tuple[str, ...]] = ()

    # Settings

    def default_model(self) -> str:
        """The model where none is named. Raises ConfigError where the task has none of its own."""
        return RunConfig(task=self.name).model_name

    def model_name(self, config: RunConfig) -> str:
        """The model of a run. Raises ConfigError as ``default_model``."""
        return self.default_model() if config.model.name is None else config.model.name

    def defaults(self, config: RunConfig) -> dict[str, Any]:
        """Defaults of a new run that are the task's own, by dotted path."""
        return config.own_defaults

    # Reading

    def source_config(
        self, settings: StreamSettings, *, text_optional: bool = False, with_targets: bool = True
    ) -> SourceConfig:
        """The settings of a run as the streams' own configuration.

        Args:
            settings: The run's.
            text_optional: See ``FieldNames.text_optional``.
            with_targets: Whether anybody looks at the targets.
        """
        limits: dict[str, Any] = (
            {} if settings.max_record_bytes is None else {"max_record_bytes": settings.max_record_bytes}
        )
        return SourceConfig(
            fields=FieldNames(
                text=settings.text_field[0],
                text_joined=settings.text_field[1:],
                target=settings.target_field,
                id=settings.id_field,
                domain=settings.domain_field,
                time=settings.time_field,
                text_optional=text_optional,
                lenient_target=not with_targets,
                target_is_label=False,
            ),
            strict=settings.strict,
            encoding=settings.encoding,
            delimiter=settings.delimiter,
            **limits,
        )

    def is_begun_by(self, spec: str, settings: StreamSettings) -> bool:
        """Whether a new run that names no task is one of this, by how its stream begins.

        Args:
            spec: The stream, as given.
            settings: How it is read.
        """
        return False

    def arriving(self, examples: Sequence[Example]) -> Sequence[Example]:
        """Examples as the journal takes them."""
        return examples

    def labels_of(self, target: str) -> Sequence[str]:
        """The labels of a target."""
        return (target,)

    def target_problem(self, target: str) -> str | None:
        """Why something is no target; None: it is one."""
        return None

    def group_of(self, example: Example) -> str:
        """What is held back, forgotten and examined as a whole: the example, or its document."""
        return example.id

    def text_rule(self) -> TextRule:
        """What of an example is text, beside its text. Other fields stay, for ``forget --where``."""
        return TextRule()

    def label_limit(self, config: RunConfig, record: LearnerRecord) -> int | None:
        """Labels that a run takes; None where it learns no labels."""
        return None

    # Learning

    @abstractmethod
    def new_learner(
        self, config: RunConfig, source: Source | None, origin: Origin
    ) -> tuple[RunLearner, LearnerRecord]:
        """A fresh learner for a new run, and the record to build it again.

        Args:
            config: The run's settings.
            source: The first stream; a codes file says itself which model made it, and none is loaded. None:
                a program gives the examples.
            origin: What else it is built with.

        Raises:
            ConfigError: A setting is wrong, or does not fit the learner or the stream.
            ModelError: The model cannot be loaded.
        """

    @abstractmethod
    def learner(self, config: RunConfig, record: LearnerRecord, origin: Origin) -> RunLearner:
        """The learner of an existing run, without its state. Models are loaded when they are needed.

        Args:
            config: The run's settings.
            record: What the run recorded of its learner.
            origin: What else it is built with.

        Raises:
            RunError: The record names a learner that this version does not know.
            ModelError: The model cannot be loaded.
        """

    def learner_like(self, config: RunConfig, record: LearnerRecord, origin: Origin) -> RunLearner:
        """A fresh learner of other settings over the codes (or texts) of an existing run.

        Args:
            config: The settings.
            record: What the run recorded of its own learner.
            origin: What else it is built with.

        Raises:
            ConfigError: A setting is wrong.
            ModelError: The model cannot be loaded.
        """
        raise NotImplementedError("a task that replays has other learners, too")

    def unknown_kind(self, record: LearnerRecord, owner: str) -> RunError:
        """The error of a record that names a learner which this version does not know."""
        return RunError(f"{owner} has a learner of kind {record.kind!r}, which this version does not know")

    # Quality

    @abstractmethod
    def scores(self, config: RunConfig) -> RunScores:
        """Fresh scores of a run's stream. Raises MissingExtraError where a library for them is missing."""

    @abstractmethod
    def held_out(self, source: Source, config: RunConfig) -> HeldOut:
        """A test set. Raises InputError where nothing in it can be tested on."""

    @abstractmethod
    def exams(self, journal: Journal, settings: GuardSettings, *, reads_text: bool) -> Exams[Any]:
        """What candidates of a run are examined on.

        Args:
            journal: The run's.
            settings: The guard's.
            reads_text: Whether the learner predicts from texts; else from codes.
        """

    def general_text(self, source: Source, config: RunConfig) -> Any:
        """Other text, on which the model is compared with what it was before it learned.

        Raises:
            ConfigError: The task has no use for it.
        """
        raise ConfigError("general text is for task lm or seq2seq; a classifier is tested with --test")

    @abstractmethod
    def evaluation(self, request: EvaluationRequest) -> Evaluation:
        """Files read to be scored. Raises ConfigError or InputError where they cannot be."""

    def without_names(self, saved: Mapping[str, Json], ids: Iterable[str]) -> dict[str, Json]:
        """What a checkpoint keeps beside the state, without what names these examples."""
        return dict(saved)

    # Words

    def answer(self, example: Example, prediction: Prediction, top: int) -> PredictedText:
        """A prediction as a user sees it, with so many of the most probable labels."""
        return PredictedText.of(example, prediction, top)

    def check_consolidates(self, owner: str) -> None:
        """Refuse to tune a trunk where this task has no way to. Raises RunError."""

    def check_predicts(self, owner: str) -> None:
        """Refuse to predict where predictions are no answers. Raises RunError."""

    def check_replays(self, owner: str) -> None:
        """Refuse a replay where predictions of two learners cannot be compared. Raises RunError."""
        raise RunError(
            f"{owner} learns texts (task {self.name!r}), and replay compares predictions of labels; "
            "learn the stream into a new folder with other settings and compare the two reports"
        )

    def writing_model(self, learner: RunLearner, owner: str) -> WritingModel:
        """The model that writes. Raises RunError where none does."""
        raise RunError(
            f"{owner} is a classifier's run: only language models and encoder-decoders write text or are "
            "exported. Its predictions: `everlearn predict`"
        )

    def notes(self, learner: RunLearner, scores: RunScores, config: RunConfig, *, is_over: bool) -> list[str]:
        """What a user should know at the end of a sitting, in sentences.

        Args:
            learner: As it is then.
            scores: Of the run.
            config: Of the sitting.
            is_over: Whether the stream came to its end.
        """
        return []

    def nothing_learned(self, source: str, num_examples: int, config: RunConfig) -> str:
        """Why nothing of a stream was learned, although it gave examples."""
        field_name = config.stream.target_field
        looked_for = repr(field_name) if field_name else "'target', 'label', 'intent' or 'category'"
        return (
            f"{source}: none of its {num_examples:,} examples has a target, so nothing was learned (looked "
            f"for a field {looked_for}); name the field with --target-field"
        )
