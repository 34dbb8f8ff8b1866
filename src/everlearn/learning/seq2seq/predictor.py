"""Predictions of an encoder-decoder, and one whose weights stay as they are while the learner goes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from everlearn.learning.batch import Batch
from everlearn.learning.seq2seq.decoding import Decoding, generate
from everlearn.learning.seq2seq.losses import PairLossTally
from everlearn.learning.seq2seq.objective import Seq2SeqObjective
from everlearn.learning.seq2seq.pairs import PairReader
from everlearn.learning.text_losses import LossSums
from everlearn.types import Example, Prediction, TextLoss

__all__ = ["Seq2SeqPredictor", "predict_targets", "score_groups", "score_pairs"]


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
    texts = reader.texts([target.ids for target in generated])
    return [
        Prediction(text, (text,), np.array([target.mean_probability]))
        for text, target in zip(texts, generated, strict=True)
    ]


def score_pairs(
    model: Any, reader: PairReader, objective: Seq2SeqObjective, examples: Sequence[Example]
) -> tuple[TextLoss, ...]:
    """Losses of the targets by domain, without learning; pairs without target are passed over.

    Raises:
        InputError: An example has no text.
    """
    tally = PairLossTally(reader)
    _add_up(model, reader, objective, examples, tally)
    return tally.losses()


def score_groups(
    model: Any, reader: PairReader, objective: Seq2SeqObjective, groups: Sequence[Sequence[Example]]
) -> list[TextLoss]:
    """One loss a group of pairs, in order, without learning; pairs without target are passed over.

    Raises:
        InputError: An example has no text.
    """
    sums = LossSums(groups)
    examples = [example for group in groups for example in group]
    _add_up(model, reader, objective, examples, PairLossTally(reader, sums))
    return sums.by_group()


@torch.no_grad()
def _add_up(
    model: Any,
    reader: PairReader,
    objective: Seq2SeqObjective,
    examples: Sequence[Example],
    tally: PairLossTally,
) -> None:
    known = [(example, example.target) for example in examples if example.target is not None]
    if not known:
        return
    pairs = reader.pairs([example for example, _ in known], [target for _, target in known])
    for group in objective.split(Batch(tuple(pairs), len(pairs))):
        for part in group:
            tally.take(part.batch, objective.forward(model, part.batch))


class Seq2SeqPredictor:
    """Predicts by a model that is its own.

    Args:
        model: In evaluation mode.
        reader: Tokenizes.
        decoding: How targets are generated.
        objective: What losses are taken by.
    """

    def __init__(
        self, model: Any, reader: PairReader, decoding: Decoding, objective: Seq2SeqObjective
    ) -> None:
        self._model, self._reader, self._decoding = model, reader, decoding
        self._objective = objective

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """One prediction an example, in order."""
        return predict_targets(self._model, self._reader, self._decoding, examples)

    def score(self, examples: Sequence[Example]) -> tuple[TextLoss, ...]:
        """Losses of the targets by domain; see ``score_pairs``."""
        return score_pairs(self._model, self._reader, self._objective, examples)

    def score_each(self, groups: Sequence[Sequence[Example]]) -> list[TextLoss]:
        """One loss a group of pairs; see ``score_groups``."""
        return score_groups(self._model, self._reader, self._objective, groups)
