"""Held-out documents and pairs: what a language model or a translator is tested on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from everlearn.errors import InputError
from everlearn.evaluation.text_scores import DomainMatrix, TextScores
from everlearn.evaluation.translation_scores import TranslationScores
from everlearn.learning.language import LanguageLearner
from everlearn.learning.run_learner import RunLearner
from everlearn.learning.seq2seq import Seq2SeqLearner
from everlearn.stream.order import Experience
from everlearn.stream.source import Rejection, Source
from everlearn.tasks.held_out import HeldOut
from everlearn.tasks.reading import read_all
from everlearn.tasks.scores import Tested
from everlearn.types import Example, Json

__all__ = ["LossHeldOut", "score_text", "testable"]

_PREDICTED_AT_ONCE = 64


class LossHeldOut(HeldOut):
    """A test set of texts, with targets where the run translates.

    Args:
        source: Where it comes from.
        bleu_tokenizer: sacrebleu's, for targets; None: there are none.

    Raises:
        InputError: Nothing in it can be tested on.
    """

    def __init__(self, source: Source, bleu_tokenizer: str | None = None) -> None:
        examples, rejected = read_all(source)
        self._bleu_tokenizer = bleu_tokenizer
        self._examples = testable(source.name, examples, rejected, bleu_tokenizer)
        self.num_records = len(examples) + len(rejected)
        self.rejected: Sequence[Rejection] = rejected

    def __len__(self) -> int:
        return len(self._examples)

    def scores(self, learner: RunLearner) -> Mapping[str, Json]:
        """The figures of the whole set; see ``score_text``."""
        return score_text(learner, self._examples, self._bleu_tokenizer)

    def losses(self, learner: RunLearner) -> Mapping[str, Json]:
        """The same without translating anything: losses only."""
        return score_text(learner, self._examples)

    def test(self, learner: RunLearner) -> Tested:
        """See HeldOut."""
        scores = self.scores(learner)
        names = ("bits_per_byte", "bleu", "chrf")
        return Tested(figures={f"test_{name}": scores[name] for name in names if name in scores})

    def after_experience(
        self,
        learner: RunLearner,
        matrix: DomainMatrix | None,
        experiences: Sequence[Experience],
        order: str,
        index: int,
    ) -> DomainMatrix | None:
        """See HeldOut: bits per byte of every domain of the set, where a domain ended."""
        if order != "by-domain" or len(experiences) < 2:
            return None
        measured = {
            name: figures["bits_per_byte"] for name, figures in self.scores(learner)["domains"].items()
        }
        matrix = DomainMatrix() if matrix is None else matrix
        matrix.add(
            experiences[index].name, {name: bits for name, bits in measured.items() if bits is not None}
        )
        return matrix

    def sha256(self) -> str:
        """SHA-256 of all texts and targets, in order (hex)."""
        rows = [[example.text, example.target, example.fields] for example in self._examples]
        return hashlib.sha256(json.dumps(rows, ensure_ascii=False).encode()).hexdigest()


def testable(
    name: str, examples: Sequence[Example], rejected: Sequence[Rejection], bleu_tokenizer: str | None
) -> list[Example]:
    """The examples of a file that can be tested on; arguments as of ``LossHeldOut``.

    Raises:
        InputError: There are none.
    """
    found = [one for one in examples if bleu_tokenizer is None or one.target is not None]
    if not found:
        raise InputError(f"{name} cannot be tested on: {_reason(len(examples), rejected)}")
    return found


def _reason(num_without_target: int, rejected: Sequence[Rejection]) -> str:
    if num_without_target:
        return f"none of its {num_without_target:,} examples has a target"
    if not rejected:
        return "it is empty"
    first = rejected[0]
    return f"all {len(rejected):,} records were rejected; the first: {first.place}: {first.reason}"


def score_text(
    learner: RunLearner, examples: Sequence[Example], bleu_tokenizer: str | None = None
) -> dict[str, Any]:
    """Losses, and for pairs BLEU and chrF, without learning.

    Args:
        learner: Of a language model or an encoder-decoder.
        examples: Documents from their beginning, or pairs.
        bleu_tokenizer: sacrebleu's, for targets; None: nothing is translated.

    Returns:
        The figures of ``TextScores.summary`` with, for pairs, those of ``TranslationScores.summary``;
        ``domains`` holds both of each domain.
    """
    assert isinstance(learner, LanguageLearner | Seq2SeqLearner)
    text = TextScores(max_domains=None)
    text.update(learner.score(examples))
    figures = text.summary()
    if bleu_tokenizer is None:
        return figures
    pairs = TranslationScores(bleu_tokenizer, max_domains=None)
    for start in range(0, len(examples), _PREDICTED_AT_ONCE):
        batch = examples[start : start + _PREDICTED_AT_ONCE]
        written = [one.label or "" for one in learner.predict(batch)]
        pairs.update(written, [one.target for one in batch], [one.domain for one in batch])
    translated = pairs.summary()
    domains = figures["domains"]
    for name, one in translated["domains"].items():
        domains[name] = domains.get(name, {}) | one
    return figures | translated | {"domains": domains}
