"""Surprise: how often an interval contradicts what was predicted with confidence, and how often is usual."""

from __future__ import annotations

from dataclasses import dataclass

from scipy.special import bdtrc  # scipy.stats, where it is binom.sf, takes a second to import

from everlearn.journal.standing.intervals import contradictions
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.outcomes import figures_of
from everlearn.tasks.exams import Compared
from everlearn.types import Json

__all__ = ["Surprise", "is_better", "surprise_of"]

_SURPRISE_LEVEL = 1e-4
_SURPRISE_MARGIN = 0.1
_USUAL_RATE = 0.02  # until intervals have been accepted: what well-labelled sets show
_USUAL_WEIGHT = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Surprise:
    """How often an interval contradicts confident predictions.

    Attributes:
        num_examples: Examples learned in the interval, with a target that was known when they came.
        num_contradicted: Those that contradict.
        usual_rate: Share in what was accepted before.
        usual_examples: Examples that this rests on.
        usual_contradicted: Those of them that contradict.
        p_value: How probable so many are at the usual rate.
    """

    num_examples: int
    num_contradicted: int
    usual_rate: float
    usual_examples: int
    usual_contradicted: int
    p_value: float

    @property
    def is_extreme(self) -> bool:
        """Whether chance and hard examples cannot explain it."""
        if not self.num_examples:
            return False
        share = self.num_contradicted / self.num_examples
        return self.p_value < _SURPRISE_LEVEL and share > self.usual_rate + _SURPRISE_MARGIN

    def to_json(self) -> dict[str, Json]:
        """All figures."""
        return figures_of(self)


def surprise_of(folder: RunFolder, confidence: float, first_step: int, last_step: int) -> Surprise:
    """How often the predictions of an interval were contradicted, and how often that is usual.

    Args:
        folder: The run.
        confidence: From this probability on a prediction is confident.
        first_step: The interval's first step.
        last_step: Its last.
    """
    count, contradicted = contradictions(folder.journal, confidence, first_step, last_step)
    known, known_contradicted = _usual(folder)
    usual = (known_contradicted + _USUAL_RATE * _USUAL_WEIGHT) / (known + _USUAL_WEIGHT)
    p_value = float(bdtrc(contradicted - 1, count, usual)) if contradicted else 1.0
    return Surprise(
        num_examples=count,
        num_contradicted=contradicted,
        usual_rate=usual,
        usual_examples=known,
        usual_contradicted=known_contradicted,
        p_value=p_value,
    )


def _usual(folder: RunFolder) -> tuple[int, int]:
    """Examples of all that was accepted, and how many contradicted."""
    known = known_contradicted = 0
    for decision in folder.history.newest_decisions():
        found = decision.numbers.get("surprise")
        if found is None:
            continue
        # What was accepted in spite of many contradictions is not usual for that.
        if decision.verdict == "accepted" and found["p_value"] >= _SURPRISE_LEVEL:
            known += found["examples"]
            known_contradicted += found["contradicted"]
        if "usual_examples" in found:  # older ones lack it, and tell of themselves alone
            known += found["usual_examples"]
            known_contradicted += found["usual_contradicted"]
            break
    return known, known_contradicted


def is_better(own: Compared) -> bool:
    """Whether the candidate has learned something that holds for the interval's held-back part."""
    return own.won > own.lost and float(bdtrc(own.won - 1, own.won + own.lost, 0.5)) < 0.05
