"""The two exams that candidates sit: the recent past, and everything so far in equal parts.

Examples with the role ``exam`` are journaled and predicted like all others, but never learned. Both exams
are functions of the journal: the newest ones; and of each pair of class and domain those whose ids have
the smallest hashes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from everlearn.evaluation.paired import PairedTest, compare_paired
from everlearn.journal.journal import Journal
from everlearn.learning.run_learner import RunLearner
from everlearn.tasks.exam_rows import ExamRows, balanced
from everlearn.tasks.exams import Compared, Examined, Exams
from everlearn.tasks.input import has_input
from everlearn.types import Example, Predictor

__all__ = ["Chosen", "LabelExams"]

_PREDICTED_AT_ONCE = 512

Chosen = tuple[int, str]
"""Offset and present target of an example that was chosen for an exam."""


class LabelExams(Exams[Chosen]):
    """Chooses the examples of both exams and keeps them in memory, which is bounded by their sizes.

    Args:
        journal: Holds them.
        recent: Size of the exam on the recent past.
        long_term: Size of the other.
        reads_text: Whether what is examined predicts from texts; else from codes.
    """

    has_right_answers = True

    def __init__(self, journal: Journal, recent: int, long_term: int, *, reads_text: bool = False) -> None:
        self._journal = journal
        self._num_recent = recent
        self._num_long_term = long_term
        self._reads_text = reads_text
        self._rows = ExamRows(journal, lambda domain, target: (target, domain), need_text=reads_text)
        self._loaded: dict[tuple[int, int], Example] = {}

    def can_compare(self, learner: RunLearner) -> bool:
        """Whether a state holds anything."""
        return bool(learner.labels)

    def choose(self, first_offset: int | None = None) -> tuple[list[Chosen], list[Chosen]]:
        """The recent and the long-term exam, as of now."""
        self._rows.refresh()
        rows = self._rows.rows
        recent = self._chosen(rows[-self._num_recent :])
        long_term = self._chosen(rows[balanced(rows, self._num_long_term)])
        wanted = {offset for offset, _ in [*recent, *long_term]}
        self._loaded = {key: one for key, one in self._loaded.items() if key[1] in wanted}
        return recent, long_term

    def since(self, first_offset: int) -> list[Chosen]:
        """All exam examples from an offset on."""
        self._rows.refresh()
        rows = self._rows.rows
        return self._chosen(rows[np.searchsorted(rows["offset"], first_offset) :])

    def needed(self, first_offset: int) -> set[int]:
        """Offsets of all that this candidate and the next are examined on, as of now.

        Args:
            first_offset: Where the present interval begins.
        """
        self._rows.refresh()
        rows = self._rows.rows
        since = rows[np.searchsorted(rows["offset"], first_offset) :]
        chosen = [rows[-self._num_recent :], rows[balanced(rows, self._num_long_term)], since]
        return {offset for part in chosen for offset in part["offset"].tolist()}

    def compare(
        self,
        live: Examined,
        candidate: Examined,
        items: Sequence[Chosen],
        *,
        tolerance: float,
        test: PairedTest,
    ) -> Compared:
        """Compare two states example by example: which predicts it right."""
        of_live, of_candidate = self._examples(items, (live.generation, candidate.generation))
        paired = compare_paired(
            np.array(self.right(live.predictor, of_live), dtype=np.bool_),
            np.array(self.right(candidate.predictor, of_candidate), dtype=np.bool_),
            tolerance=tolerance,
            test=test,
        )
        return Compared(
            num_examples=paired.num_examples,
            lost=paired.lost,
            won=paired.won,
            p_value=paired.p_value,
            change=(
                ""
                if paired.live_accuracy is None
                else f"accuracy falls from {paired.live_accuracy:.1%} to {paired.candidate_accuracy:.1%} on "
                f"{paired.num_examples:,} examples"
            ),
            scores={"accuracy": paired.candidate_accuracy},
            numbers=paired.to_json(),
        )

    def right(self, predictor: Predictor, examples: Sequence[Example]) -> list[bool]:
        """Which examples are predicted right."""
        right: list[bool] = []
        for start in range(0, len(examples), _PREDICTED_AT_ONCE):
            batch = examples[start : start + _PREDICTED_AT_ONCE]
            right += [
                prediction.label == example.target
                for prediction, example in zip(predictor.predict(batch), batch, strict=True)
            ]
        return right

    def _examples(self, chosen: Sequence[Chosen], generations: Sequence[int]) -> list[list[Example]]:
        """The chosen examples with codes of each of these generations, as far as they have codes of all.

        Of those that are read as texts, the ones with a text.
        """
        found: list[list[Example]] = [[] for _ in generations]
        for offset, target in chosen:
            coded = [self._example(generation, offset) for generation in generations]
            if all(has_input(one, reads_text=self._reads_text) for one in coded):
                for examples, one in zip(found, coded, strict=True):
                    examples.append(one.with_target(target))
        return found

    def _chosen(self, rows: npt.NDArray[np.void]) -> list[Chosen]:
        groups = self._rows.groups
        pairs = zip(rows["offset"].tolist(), rows["group"].tolist(), strict=True)
        return [(offset, str(groups[place][0])) for offset, place in pairs]

    def _example(self, generation: int, offset: int) -> Example:
        key = (generation, offset)
        if key not in self._loaded:
            example = self._journal.examples.at(offset, generation)
            assert example is not None, "the query named it"
            self._loaded[key] = example
        return self._loaded[key]
