"""Where a setting has an effect: where all of its conditions hold.

A condition names the setting that it looks at, so that a message can say which one stands in the way; the
first that does not hold is told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = [
    "BELOW_THE_HEAD",
    "BY_GRADIENTS",
    "CLOSED_FORM",
    "GUARDED",
    "OF_DOCUMENTS",
    "OF_LABELS",
    "OF_PAIRS",
    "WITH_REPLAY",
    "Condition",
    "Needs",
    "Values",
    "is_not",
    "is_one_of",
]

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Condition:
    """Holds where ``holds`` says so of all values; else the value of ``path`` is told."""

    path: str
    holds: Callable[[Values], bool]


Needs = tuple[Condition, ...]


def is_one_of(path: str, *allowed: Any) -> Condition:
    """The setting has one of these values."""
    return Condition(path, lambda values: values[path] in allowed)


def is_not(path: str, *excluded: Any) -> Condition:
    """The setting has none of these values."""
    return Condition(path, lambda values: values[path] not in excluded)


OF_LABELS: Needs = (is_one_of("task", "classify", "multilabel"),)
OF_DOCUMENTS: Needs = (is_one_of("task", "lm"),)
OF_PAIRS: Needs = (is_one_of("task", "seq2seq"),)
CLOSED_FORM: Needs = (*OF_LABELS, is_one_of("learner.kind", "closed-form"))
BY_GRADIENTS: Needs = (is_one_of("learner.kind", "gradient"),)
GUARDED: Needs = (is_one_of("guard.enabled", True),)
WITH_REPLAY = is_not("learner.gradient.replay", 0)
BELOW_THE_HEAD = Condition(
    "learner.gradient.trainable",
    lambda values: values["task"] != "classify" or values["learner.gradient.trainable"] != "head",
)
