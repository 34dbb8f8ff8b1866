"""What a learner is built from again, and what a checkpoint keeps beside its state."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Counts", "LearnerRecord", "RunStatus", "Seconds"]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid")


class LearnerRecord(_Record):
    """What it takes to build the learner again.

    Attributes:
        kind: "closed-form" or "gradient".
        config: The learner's own configuration, all fields.
        coder_fingerprint: Identifies how texts became codes; None for learners that need no codes.
        coder_config: The coder's configuration, for messages and codes files.
        dense_size: Length of a code's dense part.
    """

    kind: str
    config: dict[str, Any] = Field(default_factory=dict)
    coder_fingerprint: str | None = None
    coder_config: dict[str, Any] | None = None
    dense_size: int | None = None


class Counts(_Record):
    """Examples by what became of them, over the whole run."""

    examples: int = 0
    learned: int = 0
    without_target: int = 0
    rejected: int = 0
    forgotten: int = 0


class Seconds(_Record):
    """Wall-clock seconds by kind of work, over the whole run."""

    encode: float = 0.0
    predict: float = 0.0
    learn: float = 0.0
    evaluate: float = 0.0
    save: float = 0.0
    total: float = 0.0


class RunStatus(_Record):
    """What a checkpoint keeps beside the learner's state.

    Attributes:
        counts: Examples so far.
        seconds: Time so far.
        scores: Prequential scores and experience accuracies.
        summary: The figures of the last sitting that came to an end.
    """

    counts: Counts = Field(default_factory=Counts)
    seconds: Seconds = Field(default_factory=Seconds)
    scores: dict[str, Any] = Field(default_factory=dict)
    summary: dict[str, Any] = Field(default_factory=dict)
