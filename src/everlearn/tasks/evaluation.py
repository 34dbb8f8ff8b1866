"""Files that a run is scored on, without learning them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from everlearn.learning.run_learner import RunLearner
from everlearn.settings import RunConfig
from everlearn.stream.source import Source
from everlearn.types import Json

__all__ = ["Evaluation", "EvaluationRequest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRequest:
    """What is asked of an ``evaluate``.

    Attributes:
        run: The run's name, for messages.
        specs: The files, as given.
        open_sources: Opens them; what is wrong with them is told there.
        config: The run's settings.
        adapt: Dynamic evaluation: learn while reading.
        forget_documents: With ``adapt``: forget after each document.
    """

    run: str
    specs: Sequence[str]
    open_sources: Callable[[], Sequence[Source]]
    config: RunConfig
    adapt: bool = False
    forget_documents: bool = False


class Evaluation(Protocol):
    """Files that were read."""

    def figures(self, learner: RunLearner) -> dict[str, Json]:
        """As printed by ``evaluate --json``, but for the fingerprint.

        ``examples``, ``rejected`` and ``too_many_rejected`` are among them: where more records were rejected
        than ``stream.max_rejected`` allows, how many, in a sentence, else None.
        """
        ...
