"""Averages of weights over the steps, which predictions are made with."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from everlearn.errors import StateError

__all__ = ["AveragedWeights"]


class AveragedWeights:
    """An exponential moving average of weights: w̄ ← d·w̄ + (1 − d)·w (Polyak and Juditsky 1992).

    d is smaller in the first steps, (1 + t) / (10 + t), so that the start is soon forgotten.

    Args:
        parameters: The trained parameters by name; kept, not copied.
        decay: d; None: nothing is averaged.
        growing: Names of those that get rows, all together: one for each label (C).
    """

    def __init__(
        self, parameters: Mapping[str, nn.Parameter], decay: float | None, growing: Collection[str] = ()
    ) -> None:
        self._parameters = parameters
        self._decay = decay
        self._growing = tuple(growing) if decay is not None else ()
        self._average: dict[str, Tensor] = {}
        if decay is not None:
            self._average = {name: weight.detach().clone() for name, weight in parameters.items()}
        num_rows = len(parameters[self._growing[0]]) if self._growing else 0
        self._rows_since_C = torch.zeros(num_rows, dtype=torch.int64)

    @torch.no_grad()
    def update(self, num_steps: int, names: Collection[str] | None = None) -> None:
        """Take in the weights after a step.

        Args:
            num_steps: Steps made, this one included.
            names: Of the weights that were trained; the averages of the others stay. None: all.
        """
        if self._decay is None:
            return
        decay = min(self._decay, (1 + num_steps) / (10 + num_steps))
        trained = self._parameters if names is None else names
        chosen = [name for name in trained if name not in self._growing]
        if chosen:
            weights = [self._parameters[name].detach() for name in chosen]
            torch._foreach_lerp_([self._average[name] for name in chosen], weights, 1.0 - decay)
        if self._growing:
            self._update_rows(num_steps, self._decay)

    def _update_rows(self, num_steps: int, most: float) -> None:
        # A row has a t of its own: with that of the whole, a label that comes late would be predicted by the
        # zeros that its row began with for some 1 / (1 - d) steps, however much was learned of it.
        steps_C = (num_steps - self._rows_since_C).double()
        shares_C = 1.0 - ((1.0 + steps_C) / (10.0 + steps_C)).clamp(max=most)
        for name in self._growing:
            weight = self._parameters[name].detach()
            self._average[name].lerp_(weight, shares_C.to(weight).view(-1, *[1] * (weight.ndim - 1)))

    def include(self, names: Collection[str]) -> None:
        """Average these parameters too, from their present values on."""
        if self._decay is not None:
            self._average |= {name: self._parameters[name].detach().clone() for name in names}

    def grow(self, num_steps: int) -> None:
        """Average new rows of growing parameters too, from their present values on.

        Args:
            num_steps: Steps made before these rows take part in one.
        """
        num_known = len(self._rows_since_C)
        for name in self._growing:
            new_rows = self._parameters[name].detach()[num_known:]
            self._average[name] = torch.cat([self._average[name], new_rows])
        if self._growing:
            num_new = len(self._parameters[self._growing[0]]) - num_known
            self._rows_since_C = torch.cat([self._rows_since_C, torch.full((num_new,), num_steps)])

    def leave_out(self, names: Collection[str]) -> None:
        """Drop the averages of these parameters."""
        for name in names:
            self._average.pop(name, None)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model predicts with the average within the block; it must not be trained there."""
        if self._decay is None:
            yield
            return
        with torch.no_grad():
            kept = {name: weight.detach().clone() for name, weight in self._parameters.items()}
            for name, weight in self._parameters.items():
                weight.copy_(self._average[name])
        try:
            yield
        finally:
            with torch.no_grad():
                for name, weight in self._parameters.items():
                    weight.copy_(kept[name])

    def tensors(self) -> dict[str, Tensor]:
        """Copies of the averages by name; empty where nothing is averaged."""
        return {name: tensor.to("cpu", copy=True) for name, tensor in self._own_tensors().items()}

    def _own_tensors(self) -> dict[str, Tensor]:
        return self._average | ({"rows_since": self._rows_since_C} if self._growing else {})

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Replace the averages. Raises StateError where names or shapes do not fit."""
        present = self._own_tensors()
        if tensors.keys() != present.keys() or any(
            tensors[name].shape != tensor.shape for name, tensor in present.items()
        ):
            raise StateError("the saved averages of the weights are of another model")
        for name, tensor in present.items():
            tensor.copy_(tensors[name])
