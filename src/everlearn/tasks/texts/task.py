"""A task that is measured by how well its model predicts texts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping

from everlearn.journal.journal import Journal
from everlearn.settings import GuardSettings, RunConfig
from everlearn.stream.source import Source
from everlearn.tasks.task import Task
from everlearn.tasks.texts.exams import LossExams
from everlearn.tasks.texts.general_text import GeneralText
from everlearn.tasks.texts.held_out import LossHeldOut
from everlearn.tasks.texts.samples import without_samples
from everlearn.tasks.texts.scores import LossScores
from everlearn.types import Json

__all__ = ["LossTask"]


class LossTask(Task):
    """See the module."""

    scores_name_examples = True

    @abstractmethod
    def bleu_tokenizer(self, config: RunConfig) -> str | None:
        """sacrebleu's, where texts have targets to compare answers with; None: they have none."""

    def scores(self, config: RunConfig) -> LossScores:
        """See Task."""
        return LossScores(config.run.rolling_window, self.bleu_tokenizer(config))

    def held_out(self, source: Source, config: RunConfig) -> LossHeldOut:
        """See Task."""
        return LossHeldOut(source, self.bleu_tokenizer(config))

    def exams(self, journal: Journal, settings: GuardSettings, *, reads_text: bool) -> LossExams:
        """See Task."""
        return LossExams(journal, settings.recent, settings.long_term, group_of=self.group_of)

    def general_text(self, source: Source, config: RunConfig) -> GeneralText:
        """See Task."""
        return GeneralText(self.held_out(source, config))

    def without_names(self, saved: Mapping[str, Json], ids: Iterable[str]) -> dict[str, Json]:
        """See Task."""
        return without_samples(saved, set(ids))
