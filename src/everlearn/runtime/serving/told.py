"""How the processes of a service tell of errors, and what they say of a text."""

from __future__ import annotations

from everlearn.errors import EverlearnError
from everlearn.tasks.answer import PredictedText
from everlearn.types import Json

__all__ = ["UnknownExampleError", "UnknownTenantError", "UnknownVersionError", "answer_told", "error_told"]


class UnknownExampleError(EverlearnError):
    """The run has no example with this id."""


class UnknownTenantError(EverlearnError):
    """There is no tenant of this name."""


class UnknownVersionError(EverlearnError):
    """There is no such version, or its state is gone."""


def error_told(error: EverlearnError) -> dict[str, Json]:
    """An error as a message."""
    return {"error": type(error).__name__, "message": str(error)}


def answer_told(answer: PredictedText) -> dict[str, Json]:
    """What is said of a text, without the text."""
    told = answer.to_json()
    del told["id"], told["text"]
    return told
