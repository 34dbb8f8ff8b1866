"""Examples and steps of a journal, as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal

from everlearn.types import Example, Json, Prediction

__all__ = [
    "NO_TARGET",
    "UNLEARNABLE",
    "After",
    "Arrival",
    "Change",
    "ChangeKind",
    "EndedExperience",
    "Flag",
    "FoldStep",
    "JournaledPrediction",
    "KeptRejection",
    "KnownExample",
    "NewStep",
    "Role",
    "Step",
    "shown_target",
]

Role = Literal["learn", "exam", "thinned", "held", "quarantined"]
"""What an example is for: to be learned, to be examined on (never learned), left out by its weight, held back
until somebody has looked at it, or left out because it cannot be learned (``UNLEARNABLE``)."""

UNLEARNABLE: Role = "quarantined"
"""By the name that journals have for it; a quarantine is what the guard makes of a rejected interval."""

ChangeKind = Literal["target", "correction", "pending", "readmitted"]
"""``target``: one that came later than its example. ``correction``: another one for a learned example, whose
old pair is forgotten. ``pending``: another one for an example that is not learned yet. ``readmitted``: an
example is learned that had been set aside."""


NO_TARGET = ""
"""A target that says nothing, where none will come: of a document, or in place of a text that was dropped."""


def shown_target(target: str | None) -> str | None:
    """A target as a user sees it; None: there is none."""
    return None if target == NO_TARGET else target


@dataclass(frozen=True, slots=True, eq=False)
class JournaledPrediction:
    """What was said of an example before it was learned.

    Attributes:
        label: The most probable label; None while none was known.
        confidence: Its probability.
        target_probability: Probability of the target; None where that or the target was not known.
        outlier_score: See ``Prediction``.
        is_outlier: See ``Prediction``.
        top: The most probable labels, for examples whose target is still to come.
    """

    label: str | None
    confidence: float
    target_probability: float | None
    outlier_score: float | None
    is_outlier: bool
    top: tuple[tuple[str, float], ...] = ()

    @classmethod
    def of(cls, prediction: Prediction, target: str | None, num_top: int = 5) -> JournaledPrediction:
        """What the journal keeps of a prediction."""
        is_known = target is not None and target in prediction.labels
        top: tuple[tuple[str, float], ...] = ()
        if target is None and len(prediction.probabilities):
            best = (-prediction.probabilities).argsort(kind="stable")[:num_top]
            top = tuple((prediction.labels[k], float(prediction.probabilities[k])) for k in best)
        return cls(
            label=prediction.label,
            confidence=prediction.confidence,
            target_probability=prediction.probability_of(target) if is_known and target is not None else None,
            outlier_score=prediction.outlier_score,
            is_outlier=prediction.is_outlier,
            top=top,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Arrival:
    """An example that came with a step.

    Attributes:
        example: The example, prepared (with its code, where the learner works on codes).
        role: What it is for.
        prediction: What was said of it; None where nothing was predicted.
    """

    example: Example
    role: Role = "learn"
    prediction: JournaledPrediction | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """Something learned out of turn.

    Attributes:
        offset: The example's offset.
        kind: See ``ChangeKind``.
        previous: The target that the example had.
        target: The target that it has from now on.
    """

    offset: int
    kind: ChangeKind
    previous: str | None
    target: str


@dataclass(frozen=True, slots=True)
class KeptRejection:
    """A record that gave no example.

    Attributes:
        place: Where it stands.
        reason: What is wrong with it.
        excerpt: How it begins.
        id: The id that it repeats, where that is the reason.
    """

    place: str
    reason: str
    excerpt: str
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Flag:
    """An example that looks suspicious.

    Attributes:
        offset: The example's.
        reason: "contradiction" (of a confident prediction) or "leverage" (unlike everything learned).
        score: The confidence, or the outlier score.
        policy: What was done with it: "flag", "weigh" or "hold".
        resolved: What somebody decided: "accepted" or "rejected"; None: nothing yet.
    """

    offset: int
    reason: str
    score: float
    policy: str
    resolved: str | None = None


@dataclass(frozen=True, slots=True)
class EndedExperience:
    """An experience that ended with a step.

    Attributes:
        index: Which one, from 0.
        name: Its name.
        num_examples: Examples that the run had taken by then.
    """

    index: int
    name: str
    num_examples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class After:
    """What is done once a step is made.

    Attributes:
        boundary: The experience that ended with it; None: none did.
        examine: A candidate is examined.
        learning_rates: Peak learning rates from here on, by the names of their settings.
        settle: From here on predictions use everything learned.
    """

    boundary: EndedExperience | None = None
    examine: bool = False
    learning_rates: Mapping[str, float] = field(default_factory=dict)
    settle: bool = False

    def to_json(self) -> dict[str, Json]:
        """As journaled: what is not done is left out."""
        return {name: value for name, value in asdict(self).items() if value}

    @classmethod
    def from_json(cls, value: Mapping[str, Json]) -> After:
        """The inverse of :meth:`to_json`."""
        boundary = value.get("boundary")
        return cls(
            boundary=None if boundary is None else EndedExperience(**boundary),
            examine=bool(value.get("examine")),
            learning_rates=value.get("learning_rates", {}),
            settle=bool(value.get("settle")),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NewStep:
    """A step that is about to be made.

    Attributes:
        source: Key of the stream that it took from; None for steps that took from none.
        progress: How far the run is in that stream after the step; JSON.
        arrivals: Examples that came, in order.
        learned: First and last offset of the examples that are learned in turn (those with the role
            ``learn`` among them); None: none.
        changes: What is learned out of turn, after the former.
        rejected: Records that gave no example.
        flags: Arrivals that look suspicious.
        after: What is done once the step is made.
    """

    source: str | None = None
    progress: Mapping[str, Json] | None = None
    arrivals: Sequence[Arrival] = ()
    learned: tuple[int, int] | None = None
    changes: Sequence[Change] = ()
    rejected: Sequence[KeptRejection] = ()
    flags: Sequence[Flag] = ()
    after: After = After()


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step of the fold, as journaled.

    Attributes:
        step: Its number, from 1.
        source: Key of the stream, if it took from one.
        progress: How far the run is in that stream.
        arrived: First and last offset of the examples that came with it; None: none.
        learned: First and last offset of those learned in turn; None: none.
        num_rejected: Records that gave no example.
        after: What is done once the step is made.
        set_aside: The revision that took it out of the fold; None: it counts.
        time: When it was journaled.
        chain: Stands for everything journaled up to here.
    """

    step: int
    source: str | None
    progress: Mapping[str, Json] | None
    arrived: tuple[int, int] | None
    learned: tuple[int, int] | None
    num_rejected: int
    after: After
    set_aside: int | None
    time: str
    chain: bytes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FoldStep:
    """What a fold needs of a step.

    Attributes:
        step: The step.
        arrivals: Examples that came with it, targets as they were then.
        forgotten: Pairs that corrections take out.
        learned: Pairs that are learned, in order, targets as they were then.
        num_late_targets: Those of them that a step which counts had passed over, without a target.
    """

    step: Step
    arrivals: Sequence[Arrival]
    forgotten: Sequence[Example]
    learned: Sequence[Example]
    num_late_targets: int = 0


@dataclass(frozen=True, slots=True)
class KnownExample:
    """What the journal knows of an id.

    Attributes:
        offset: Where it is.
        role: What it is for.
        target: Its present target.
        is_held: Whether the state holds it.
        is_waiting: Whether its turn to be learned is still to come.
    """

    offset: int
    role: Role
    target: str | None
    is_held: bool
    is_waiting: bool

    @property
    def is_set_aside(self) -> bool:
        """Whether the step that learned it was: by a rollback, or by the guard."""
        return self.role == "learn" and self.target is not None and not (self.is_held or self.is_waiting)
