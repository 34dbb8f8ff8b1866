"""Files of texts that a run is scored on: bits per byte and BLEU by domain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from everlearn.errors import ConfigError
from everlearn.evaluation.text_scores import TextScores
from everlearn.learning.language import LanguageLearner, dynamic_losses
from everlearn.learning.run_learner import RunLearner
from everlearn.stream.lines import stem_of
from everlearn.stream.rejections import too_many_rejected
from everlearn.tasks.evaluation import EvaluationRequest
from everlearn.tasks.reading import read_all
from everlearn.tasks.texts.held_out import score_text, testable
from everlearn.types import Example, Json

__all__ = ["LossEvaluation"]


class LossEvaluation:
    """Files of documents or pairs; an ``Evaluation``.

    Where there are several files, texts without a domain have the file's name as theirs, with its folder
    where two have one name.

    Args:
        request: What is asked for.
        bleu_tokenizer: sacrebleu's, for targets; None: there are none.

    Raises:
        ConfigError: ``forget_documents`` without ``adapt``.
        InputError: A file cannot be read or has nothing to score.
    """

    def __init__(self, request: EvaluationRequest, bleu_tokenizer: str | None) -> None:
        if request.forget_documents and not request.adapt:
            raise ConfigError("forget_documents is given, but adapt is not")
        self._request = request
        self._bleu_tokenizer = bleu_tokenizer
        self._examples: list[Example] = []
        self._num_rejected = 0
        self._too_many: str | None = None
        for source, domain in zip(request.open_sources(), _domains(request.specs), strict=True):
            # Read once: standard input gives what it gives one time.
            found, rejected = read_all(source)
            testable(source.name, found, rejected, bleu_tokenizer)
            self._num_rejected += len(rejected)
            self._too_many = self._too_many or too_many_rejected(
                source.name, len(found) + len(rejected), rejected, request.config.stream.max_rejected
            )
            self._examples += [
                example if example.domain is not None else replace(example, domain=domain)
                for example in found
            ]

    def figures(self, learner: RunLearner) -> dict[str, Json]:
        """Bits per byte, tokens and the like, of all files and by domain; of pairs BLEU and chrF, too."""
        figures = self._scores(learner)
        for name in ("rolling_bits_per_byte", "rolling_bleu", "rolling_chrf"):
            figures.pop(name, None)
            for domain in figures["domains"].values():
                domain.pop(name, None)
        return {
            "examples": len(self._examples),
            "rejected": self._num_rejected,
            "too_many_rejected": self._too_many,
            **figures,
        }

    def _scores(self, learner: RunLearner) -> dict[str, Any]:
        if self._request.adapt:
            assert isinstance(learner, LanguageLearner), "only language models adapt"
            scores = TextScores(max_domains=None)
            forget_documents = self._request.forget_documents
            scores.update(dynamic_losses(learner, self._examples, forget_documents=forget_documents))
            return scores.summary()
        usable = [
            example
            for example in self._examples
            if self._bleu_tokenizer is None or example.target is not None
        ]
        return score_text(learner, usable, self._bleu_tokenizer)


def _domains(specs: Sequence[str]) -> list[str | None]:
    """The domains of files without their own: their names, with as many folders as tell them apart.

    One file is no domain of anything.
    """
    if len(specs) == 1:
        return [None]
    parts = [(*Path(spec).absolute().parts[1:-1], stem_of(Path(spec))) for spec in specs]
    named: list[str | None] = []
    for index, part in enumerate(parts):
        others = [other for other in parts[:index] + parts[index + 1 :] if other != part]
        length = 1
        while length < len(part) and any(other[-length:] == part[-length:] for other in others):
            length += 1
        same = [place for place, other in enumerate(parts) if other == part]
        # Two files of one folder may differ in what follows the stem only, or be given twice.
        named.append("/".join(part[-length:]) if len(same) == 1 else specs[index])
    return named
