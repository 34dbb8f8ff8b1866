"""A model that writes: what generates text, and what is exported."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

__all__ = ["WritingModel"]


@dataclass(frozen=True, slots=True)
class WritingModel:
    """A learner's model.

    Attributes:
        model: The model.
        tokenizer: Its tokenizer.
        averaged: Within this block the model has the weights that predictions are made with.
    """

    model: Any
    tokenizer: Any
    averaged: AbstractContextManager[None]
