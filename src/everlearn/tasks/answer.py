"""What a run says of a text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from everlearn.types import Example, Json, Prediction

__all__ = ["PredictedText"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedText:
    """A text and what a run says of it.

    Attributes:
        id: The example's id.
        text: The text, where there is one.
        target: What the record said, if anything.
        top: Labels and their probabilities, most probable first.
        outlier_score: How far the text is from everything learned; None where the learner has no such score.
        is_outlier: Whether the score is above the threshold set from the stream.
        labels: All labels that are predicted, by name, where there may be several; else None.
        is_translation: Whether the only label is a text that was written for this one; its probability is
            the geometric mean of those of its tokens.
    """

    id: str
    text: str | None
    target: str | None
    top: tuple[tuple[str, float], ...]
    outlier_score: float | None
    is_outlier: bool
    labels: tuple[str, ...] | None = None
    is_translation: bool = False

    @classmethod
    def of(
        cls, example: Example, prediction: Prediction, top: int, *, is_translation: bool = False
    ) -> PredictedText:
        """The ``top`` most probable labels of a prediction."""
        order = np.argsort(-prediction.probabilities, kind="stable")[:top]
        return cls(
            id=example.id,
            text=example.text,
            target=example.target,
            top=tuple((prediction.labels[k], float(prediction.probabilities[k])) for k in order),
            outlier_score=prediction.outlier_score,
            is_outlier=prediction.is_outlier,
            is_translation=is_translation,
        )

    def to_json(self) -> dict[str, Json]:
        """As printed by ``predict --json``."""
        if self.is_translation:
            (translation, probability), *_ = self.top
            return {
                "id": self.id,
                "text": self.text,
                "translation": translation,
                "probability": probability,
            }
        if self.labels is not None:
            return {
                "id": self.id,
                "text": self.text,
                "labels": list(self.labels),
                **self._ranking(),
            }
        return {
            "id": self.id,
            "text": self.text,
            "label": self.top[0][0] if self.top else None,
            "probability": self.top[0][1] if self.top else None,
            **self._ranking(),
        }

    def _ranking(self) -> dict[str, Json]:
        return {
            "top": [{"label": label, "probability": probability} for label, probability in self.top],
            "outlier_score": self.outlier_score,
            "is_outlier": self.is_outlier,
        }
