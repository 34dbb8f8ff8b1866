"""BLEU and chrF of translations, as sacrebleu computes them by default (13a tokens, detokenised text)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from everlearn.types import Example, Predictor

__all__ = ["TranslationScore", "score", "score_texts", "translate"]


@dataclass(frozen=True, slots=True)
class TranslationScore:
    """Corpus scores, 0 to 100.

    Attributes:
        bleu: BLEU.
        chrf: chrF2.
        count: Sentences.
    """

    bleu: float
    chrf: float
    count: int

    def __str__(self) -> str:
        return f"{self.bleu:.2f} / {self.chrf:.2f}"


def score_texts(translations: Sequence[str], references: Sequence[str]) -> TranslationScore:
    """Corpus BLEU and chrF against one reference each."""
    import sacrebleu

    bleu = sacrebleu.corpus_bleu(list(translations), [list(references)]).score
    chrf = sacrebleu.corpus_chrf(list(translations), [list(references)]).score
    return TranslationScore(bleu, chrf, len(translations))


def translate(predictor: Predictor, examples: Sequence[Example], batch_size: int = 64) -> list[str]:
    """Translations in order; sources of like length are translated together."""
    order = sorted(range(len(examples)), key=lambda place: len(examples[place].text or ""))
    translations = [""] * len(examples)
    for first in range(0, len(order), batch_size):
        places = order[first : first + batch_size]
        predictions = predictor.predict([examples[place] for place in places])
        for place, prediction in zip(places, predictions, strict=True):
            translations[place] = prediction.label or ""
    return translations


def score(predictor: Predictor, examples: Sequence[Example]) -> TranslationScore:
    """Translate and score pairs."""
    return score_texts(translate(predictor, examples), [example.target or "" for example in examples])
