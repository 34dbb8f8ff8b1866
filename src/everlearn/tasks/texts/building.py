"""What learners of language models and encoder-decoders are built from, and built again from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from everlearn.errors import RunError
from everlearn.learning.language import LanguageLearner
from everlearn.learning.method import Method
from everlearn.learning.seq2seq import Seq2SeqLearner
from everlearn.methods.registry import create_method
from everlearn.tasks.records import LearnerRecord
from everlearn.tasks.writing_model import WritingModel

__all__ = [
    "check_identity",
    "create_methods",
    "learner_record",
    "text_model_of",
    "warm_up_notes",
]

TextLearner = LanguageLearner | Seq2SeqLearner


def learner_record(
    kind: str, learner: TextLearner, methods: Mapping[str, Mapping[str, Any]]
) -> LearnerRecord:
    """What it takes to build a learner again: its settings and which model it is."""
    settings = {"learner": learner.config.to_json(), "methods": methods}
    return LearnerRecord(kind=kind, config=settings | _identity(learner))


def check_identity(learner: TextLearner, record: LearnerRecord, model_name: str) -> None:
    """Make sure that a learner has the model and the tokenizer of a record.

    Raises:
        RunError: It has others.
    """
    for name, found in _identity(learner).items():
        if record.config.get(name, found) != found:
            raise RunError(
                f"the run began with another {name} in {model_name!r} than is there now (SHA-256 "
                f"{record.config[name][:12]}…, now {found[:12]}…): put the one that it began with back, or "
                "learn into a new folder"
            )


def create_methods(settings: Mapping[str, Mapping[str, Any]]) -> list[Method]:
    """Continual-learning methods by name, each with its settings."""
    return [create_method(name, values) for name, values in settings.items()]


def text_model_of(learner: TextLearner, tokenizer: Any) -> WritingModel:
    """The model that writes."""
    return WritingModel(learner.model, tokenizer, learner.training.averaged())


def warm_up_notes(learner: TextLearner) -> list[str]:
    """That the stream ended before the learning rate had risen, where it did."""
    steps, warm_up = learner.training.num_steps, learner.config.optimization.warmup_steps
    if not 0 < steps < warm_up:
        return []
    return [
        f"The learning rate was still rising at the end: {steps:,} of {warm_up:,} warm-up steps were made. "
        "Short streams need a lower --warmup-steps."
    ]


def _identity(learner: TextLearner) -> dict[str, str]:
    description = learner.description()
    return {name: description[name] for name in ("model", "tokenizer")}
