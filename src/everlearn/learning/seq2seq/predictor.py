"""Predictions of an encoder-decoder, and one whose weights stay as they are while the learner goes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from everlearn.learning.seq2seq.decoding import Decoding, generate
from everlearn.learning.seq2seq.pairs import PairReader
from everlearn.types import Example, Prediction

__all__ = ["Seq2SeqPredictor", "predict_targets"]


def predict_targets(
    model: Any, reader: PairReader, decoding: Decoding, examples: Sequence[Example]
) -> list[Prediction]:
    """One prediction an example: the generated text is the only label.

    Its probability is the geometric mean of the probabilities of its tokens.

    Raises:
        InputError: An example has no text.
    """
    if not examples:
        return []
    generated = generate(model, reader.sources(examples), decoding)
    texts = reader.texts([one.ids for one in generated])
    return [
        Prediction(text, (text,), np.array([one.mean_probability]))
        for text, one in zip(texts, generated, strict=True)
    ]


class Seq2SeqPredictor:
    """Predicts by a model that is its own.

    Args:
        model: In evaluation mode.
        reader: Tokenizes.
        decoding: How targets are generated.
    """

    def __init__(self, model: Any, reader: PairReader, decoding: Decoding) -> None:
        self._model, self._reader, self._decoding = model, reader, decoding

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """One prediction an example, in order."""
        return predict_targets(self._model, self._reader, self._decoding, examples)
