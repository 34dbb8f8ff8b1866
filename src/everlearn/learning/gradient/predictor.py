"""Predictions of a classifier, and one whose weights stay as they are while the learner goes on."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch

from everlearn.learning.gradient.body import Classifier
from everlearn.memory import InputArray
from everlearn.types import Example, Prediction

__all__ = ["GradientPredictor", "predict_inputs"]

_PREDICTED_AT_ONCE = 256


def predict_inputs(
    model: Classifier, inputs: Sequence[InputArray], labels: tuple[str, ...]
) -> list[Prediction]:
    """Probabilities over the labels for each input; label None while there are no labels."""
    if not labels:
        return [Prediction(None, (), np.empty(0)) for _ in inputs]
    predictions: list[Prediction] = []
    for at in range(0, len(inputs), _PREDICTED_AT_ONCE):
        with torch.inference_mode():
            logits_BC = model(inputs[at : at + _PREDICTED_AT_ONCE])
        predictions.extend(
            Prediction(labels[int(probabilities_C.argmax())], labels, probabilities_C)
            for probabilities_C in logits_BC.double().softmax(dim=1).cpu().numpy()
        )
    return predictions


class GradientPredictor:
    """Predicts by a copy of a classifier; takes the memory of its weights once more.

    Args:
        model: Is copied.
        labels: The labels of its head.
    """

    def __init__(self, model: Classifier, labels: tuple[str, ...]) -> None:
        tokenizer = getattr(model.body, "_tokenizer", None)
        self._model = copy.deepcopy(model, {id(tokenizer): tokenizer} if tokenizer is not None else {}).eval()
        self._labels = labels

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """One prediction an example, in order."""
        return predict_inputs(self._model, self._model.body.to_inputs(examples), self._labels)
