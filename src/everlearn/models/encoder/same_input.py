"""Whether an id that comes again stands for the same text: told by its words, as not all texts are kept."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from everlearn.models.encoder.lexical import gram_features
from everlearn.types import Example

__all__ = ["has_other_words", "same_words"]

Grams = tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint8]]


def has_other_words(before: Example, now: Example, ngram_max: int) -> bool:
    """Whether two examples of one id are of different texts; False where that cannot be told.

    Args:
        before: With a code or a text.
        now: The same.
        ngram_max: Of the codes' lexical part.
    """
    return same_words(before, now, ngram_max) is False


def same_words(before: Example, now: Example, ngram_max: int) -> bool | None:
    """Whether two examples are of one text, by their words; None where one has neither code nor text."""
    first, second = _grams(before, ngram_max), _grams(now, ngram_max)
    if first is None or second is None:
        return None
    return np.array_equal(first[0], second[0]) and np.array_equal(first[1], second[1])


def _grams(example: Example, ngram_max: int) -> Grams | None:
    if example.code is not None:
        return example.code.gram_ids, example.code.gram_values
    return None if example.text is None else gram_features(example.text, ngram_max)
