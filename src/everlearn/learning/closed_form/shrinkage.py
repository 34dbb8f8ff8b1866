"""How strongly the ridge expert's weights are shrunk, and the search for the best.

What a text means and how it is written tell differently much from one stream to the next, so the features of
the sketch have a λ of their own: λ divided by their weight (a ridge with two penalties; its kernel is that of
the other features plus the weight times the sketch's).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch

__all__ = ["FLOAT32_CONDITION", "Shrinkage", "ShrinkageGrid"]

# Beyond this n/λ a float32 factor loses the digits that matter; float64 takes over.
FLOAT32_CONDITION = 2e6

_STRENGTHS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
_SKETCH_WEIGHTS = (0.03, 0.1, 0.3, 1.0)
_START_STRENGTH = 0.1
_START_WEIGHT = 0.3


class Shrinkage(NamedTuple):
    """Penalties of a ridge solution.

    Attributes:
        strength: λ, in units of the mean squared norm of an example.
        sketch_weight: λ of the sketch's features is so many times smaller.
    """

    strength: float
    sketch_weight: float = 1.0

    def for_float32(self, num_examples: int) -> Shrinkage:
        """As it is or, where so many examples ask for more, with the least λ that a float32 factor bears.

        A λ that was chosen stays until the stream has doubled, and may be too small meanwhile by half. A
        factor in float64 would take twice the memory and time for that.
        """
        least = (1 + 1e-9) * num_examples / FLOAT32_CONDITION
        if num_examples / self.strength <= FLOAT32_CONDITION or least > _STRENGTHS[-1]:
            return self
        return self._replace(strength=least)

    def penalties(self, sketched: torch.Tensor, num_features: int) -> torch.Tensor:
        """λ of each of the leading features (m,), float64.

        Args:
            sketched: Which features are the sketch's, ascending.
            num_features: m.
        """
        penalties_m = torch.full((num_features,), self.strength, dtype=torch.float64, device=sketched.device)
        penalties_m[sketched[sketched < num_features]] /= self.sketch_weight
        return penalties_m


@dataclass(frozen=True, slots=True)
class ShrinkageGrid:
    """What is chosen from: geometric steps of λ, and of the sketch's weight where there is a sketch.

    Attributes:
        strengths: λ, ascending.
        weights: Of the sketch, ascending.
    """

    strengths: tuple[float, ...]
    weights: tuple[float, ...]

    @classmethod
    def of(cls, num_examples: int, *, has_sketch: bool) -> Self:
        """The grid for so many examples.

        With millions the smallest λ would need float64 for directions that hold nothing but noise, so they
        are left out.
        """
        enough = tuple(s for s in _STRENGTHS if num_examples / s <= FLOAT32_CONDITION)
        return cls(enough or _STRENGTHS[-1:], _SKETCH_WEIGHTS if has_sketch else (1.0,))

    def best(self, loss: Callable[[Shrinkage], float]) -> Shrinkage:
        """Of least loss, by descent from a fixed start."""
        known: dict[tuple[int, int], float] = {}

        def loss_at(place: tuple[int, int]) -> float:
            if place not in known:
                known[place] = loss(self._at(place))
            return known[place]

        here = self._place(Shrinkage(_START_STRENGTH, _START_WEIGHT))
        while True:
            nearest = min(self._around(here), key=loss_at)
            if nearest == here:
                return self._at(here)
            here = nearest

    def best_near(
        self, shrinkage: Shrinkage | None, loss: Callable[[Shrinkage], float], *, may_grow: bool = True
    ) -> Shrinkage:
        """Of least loss among one and its neighbours.

        Args:
            shrinkage: The one; None: the start of ``best``.
            loss: To be least.
            may_grow: Whether a larger λ is tried.
        """
        here = self._place(shrinkage or Shrinkage(_START_STRENGTH, _START_WEIGHT))
        near = [place for place in self._around(here) if may_grow or place[0] <= here[0]]
        return min((self._at(place) for place in near), key=loss)

    def _place(self, shrinkage: Shrinkage) -> tuple[int, int]:
        strength, weight = shrinkage
        return (
            self.strengths.index(strength) if strength in self.strengths else 0,
            self.weights.index(weight) if weight in self.weights else 0,
        )

    def _at(self, place: tuple[int, int]) -> Shrinkage:
        return Shrinkage(self.strengths[place[0]], self.weights[place[1]])

    def _around(self, place: tuple[int, int]) -> list[tuple[int, int]]:
        """A place and its neighbours, ascending: the first of equal ones is taken, so a descent ends."""
        row, column = place
        near = [(row - 1, column), (row, column - 1), place, (row, column + 1), (row + 1, column)]
        return [(r, c) for r, c in near if 0 <= r < len(self.strengths) and 0 <= c < len(self.weights)]
