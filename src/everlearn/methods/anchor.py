"""An anchor: trained weights are drawn back to where they started."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from everlearn.errors import ConfigError
from everlearn.learning.batch import Batch
from everlearn.learning.method import BoundaryContext, Method, StepContext
from everlearn.learning.objective import ForwardResult
from everlearn.methods.snapshot import Snapshot
from everlearn.types import Boundary, State

__all__ = ["Anchor", "AnchorConfig", "AnchorMode"]

AnchorMode = Literal["penalty", "pull"]


@dataclass(frozen=True, kw_only=True)
class AnchorConfig:
    """Settings of an anchor.

    Attributes:
        mode: "penalty": strength / 2 · ‖θ − θ₀‖² is added to the loss. "pull": after every step the weights
            go back by ``strength`` of their distance from θ₀; as with decoupled weight decay, an adaptive
            optimizer then does not scale it away.
        strength: 0 or more; at most 1 for "pull", where 0.001 halves a distance in 700 steps.
        renew_at_boundaries: Drop anchor again at every boundary, instead of staying at the start.

    Raises:
        ConfigError: Names the field and the value.
    """

    mode: AnchorMode = "pull"
    strength: float = 1e-3
    renew_at_boundaries: bool = False

    def __post_init__(self) -> None:
        if self.mode not in get_args(AnchorMode):
            raise ConfigError(f"mode must be one of {list(get_args(AnchorMode))}, not {self.mode!r}")
        most = 1.0 if self.mode == "pull" else math.inf
        if not (0.0 <= self.strength <= most and math.isfinite(self.strength)):
            raise ConfigError(
                f"strength must be a number from 0{' to 1' if most == 1.0 else ''}, not {self.strength!r}"
            )


class Anchor(Method):
    """Draws trained weights to those of the start, evenly and whatever they do (L2-SP: Li, Grandvalet and
    Davoine, "Explicit inductive bias for transfer learning with convolutional networks", ICML 2018).

    With adapters that start as a zero update, the anchor is the pretrained model. Rows that a classifier's
    head has got since are left free; those of new words of a language model are anchored where they came in.
    Costs one copy of the trained weights and no further forward pass.

    Args:
        config: Mode and strength.

    Example:
        >>> Anchor(AnchorConfig(mode="penalty", strength=0.01)).config.strength
        0.01
    """

    def __init__(self, config: AnchorConfig | None = None) -> None:
        self.config = config if config is not None else AnchorConfig()
        self._start = Snapshot()

    def extend_batch(self, batch: Batch, context: StepContext) -> Batch:
        """The same batch; before the first one the anchor is dropped."""
        self._start.complete(context.parameters)
        return batch

    def penalty(self, batch: Batch, result: ForwardResult, context: StepContext) -> Tensor | None:
        """Half of strength · ‖θ − θ₀‖²."""
        if self.config.mode != "penalty" or self.config.strength == 0.0:
            return None
        squares = [
            (weight[: len(start)] - start).square().sum() if weight.ndim else (weight - start).square()
            for weight, start in self._start.pairs(context.parameters)
        ]
        return 0.5 * self.config.strength * torch.stack(squares).sum() if squares else None

    def after_step(self, fresh: Batch, context: StepContext) -> None:
        """Go back by a share of the distance."""
        if self.config.mode != "pull":
            return
        for weight, start in self._start.pairs(context.parameters):
            (weight[: len(start)] if weight.ndim else weight).lerp_(start, self.config.strength)

    def on_boundary(self, boundary: Boundary, context: BoundaryContext) -> None:
        """Anchor at the present weights, if so configured."""
        if self.config.renew_at_boundaries:
            self._start.take(context.parameters)

    def state(self) -> State:
        """The weights that the others are drawn to."""
        return State(self._start.copies(), {})

    def restore(self, state: State) -> None:
        """Replace the anchor; whether it fits the model shows at the next step."""
        self._start.load(state.tensors)

    def forget(self, ids: Collection[str]) -> int:
        """0: no example is stored."""
        return 0
