"""What a run asks of its learner: a base class that has a default wherever there is a sensible one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

import numpy as np

from everlearn.types import (
    Boundary,
    Example,
    ForgetReport,
    Prediction,
    Predictor,
    State,
    StepReport,
)

__all__ = ["RunLearner", "prediction_problem"]


def prediction_problem(prediction: Prediction) -> str | None:
    """Why a prediction is none; None: it is one."""
    return None if np.isfinite(prediction.probabilities).all() else "the model's prediction is not a number"


class RunLearner(ABC):
    """A learner that a run can hold. Implements ``everlearn.types.Learner``.

    A learner must define what is abstract here. The rest has the defaults of one that learns each batch as
    soon as it is given, predicts by everything it has learned, and has neither rates nor a sample.

    Attributes:
        learns_at_once: Whether ``learn`` learns all that it is given. Else some of it waits for more within
            the learner, whose state an example is part of from its arrival on.
    """

    learns_at_once: ClassVar[bool] = True

    @property
    def coder_fingerprint(self) -> str | None:
        """Of what makes the codes that it learns from; None: it needs none."""
        return None

    @property
    @abstractmethod
    def labels(self) -> tuple[str, ...]:
        """Labels known."""

    @property
    @abstractmethod
    def num_examples(self) -> int:
        """Examples learned and not forgotten."""

    @property
    @abstractmethod
    def reads_text(self) -> bool:
        """Whether it learns from texts; if not, from codes."""

    @abstractmethod
    def prepare(self, examples: Sequence[Example]) -> Sequence[Example]:
        """Compute what is computed once an example, so that predict and learn share it."""

    @abstractmethod
    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """Predict without learning; one prediction an example, in order."""

    @abstractmethod
    def learn(self, examples: Sequence[Example]) -> StepReport:
        """Learn one batch. Examples without target are passed over."""

    @abstractmethod
    def forget(self, examples: Sequence[Example]) -> ForgetReport:
        """Undo the influence of examples that were learned, targets included."""

    @abstractmethod
    def state(self) -> State:
        """A copy of the state; restoring it elsewhere gives the same learner."""

    @abstractmethod
    def restore(self, state: State) -> None:
        """Replace the state. Raises StateError where it does not fit."""

    @abstractmethod
    def fingerprint(self) -> str:
        """SHA-256 (hex) of what was learned."""

    @abstractmethod
    def frozen(self) -> Predictor:
        """What it would predict now, and will go on predicting while the learner changes."""

    def snapshot(self) -> Predictor | None:
        """What the next prediction would be made by, as an object that stays as it is and any thread may use.

        None where that would copy a model: then the learner itself predicts, when it does nothing else.
        """
        return None

    def packed(self, predictor: Predictor) -> State | None:
        """What a snapshot, of this learner or another of its kind, predicts by; None: nothing can be packed.

        It is derived, for the same version of everlearn to take up (``unpacked``) without computing anything.
        """
        return None

    def unpacked(self, state: State) -> Predictor:
        """A snapshot that was packed: it predicts by the tensors as they are given, which are not copied.

        Raises:
            ConfigError: It is of other sizes or of another coder.
            KeyError, ValueError: It is none, or of another version of everlearn.
        """
        raise NotImplementedError(f"{type(self).__name__} has nothing that can be packed")

    def refresh(self) -> None:
        """Do now what the next prediction would have to do first."""

    def make_ready(self) -> None:
        """Do now what the next example would have to wait for; changes nothing of what is learned."""

    def solve(self) -> None:
        """Let predictions use everything that the state holds; changes nothing of what was learned."""

    @property
    def is_settled(self) -> bool:
        """Whether ``settle`` would change nothing."""
        return True

    def settle(self) -> StepReport | None:
        """Let predictions use everything learned, and learn what waits; reports what that came to."""
        self.solve()
        return None

    def correct(self, forgotten: Sequence[Example], learned: Sequence[Example]) -> StepReport:
        """Forget pairs that were corrected and learn others, as one step."""
        self.forget(forgotten)
        return self.learn(learned)

    def on_boundary(self, boundary: Boundary) -> None:
        """Take note that a part of the stream has ended."""

    def learning_rates(self) -> Mapping[str, float]:
        """Peak learning rates as they are now, by the names of settings; none where nothing descends."""
        return {}

    def change_learning_rates(self, rates: Mapping[str, float]) -> None:
        """Go on with other peak learning rates."""

    @property
    def needs_resample(self) -> bool:
        """Whether so much was forgotten that what the learner chose of its examples lacks members."""
        return False

    def resample(self, examples: Iterable[Example]) -> None:
        """Choose anew from all examples that remain."""

    def waiting_ids(self) -> list[str]:
        """Examples that wait within the learner, in order; see ``learns_at_once``."""
        return []

    def reading_problem(self, example: Example) -> str | None:
        """Why an example cannot be read; None: it can, as far as is told before it is learned."""
        return None

    def problem_with(self, examples: Sequence[Example]) -> str | None:
        """Why what the learner says of examples is of no use; None: it is. Nothing is learned."""
        problems = (prediction_problem(prediction) for prediction in self.predict(examples))
        return next((problem for problem in problems if problem is not None), None)
