"""Trained parameters as they were: what anchors and teachers are made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from everlearn.errors import StateError

__all__ = ["Snapshot"]


class Snapshot:
    """Copies of parameters by name. A head that has grown since has more rows than its copy.

    Attributes:
        tensors: The copies, on the parameters' device; empty before anything was taken.
    """

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}

    @torch.no_grad()
    def take(self, parameters: Mapping[str, nn.Parameter]) -> None:
        """Copy the parameters as they are now."""
        self.tensors = {name: parameter.detach().clone() for name, parameter in parameters.items()}

    @torch.no_grad()
    def complete(self, parameters: Mapping[str, nn.Parameter]) -> None:
        """Copy the parameters that are not known yet, such as rows of a vocabulary that has grown.

        They are as they came when this is called before the first step that trains them.
        """
        for name, parameter in parameters.items():
            if name not in self.tensors:
                self.tensors[name] = parameter.detach().clone()

    def pairs(self, parameters: Mapping[str, nn.Parameter]) -> Iterator[tuple[nn.Parameter, Tensor]]:
        """Each parameter with its copy.

        Raises:
            StateError: The copies are of other parameters.
        """
        if parameters.keys() != self.tensors.keys():
            names = sorted(parameters.keys() ^ self.tensors.keys())
            raise StateError(
                f"the saved parameters are of another model: {len(names)} differ, first {names[0]!r}"
            )
        for name, parameter in parameters.items():
            kept = self.tensors[name]
            if kept.shape[1:] != parameter.shape[1:] or kept.shape[:1] > parameter.shape[:1]:
                raise StateError(
                    f"the saved parameter {name!r} has the shape {tuple(kept.shape)}, "
                    f"the model's {tuple(parameter.shape)}"
                )
            if kept.device != parameter.device:  # after a restore
                kept = self.tensors[name] = kept.to(parameter.device)
            yield parameter, kept

    @contextmanager
    def in_place_of(self, parameters: Mapping[str, nn.Parameter]) -> Iterator[None]:
        """Within the block the model computes with the copies, without gradients; new rows are zero.

        The parameters only point to other storage for that time: no values are written, so a graph that was
        built before stays valid.

        Raises:
            StateError: The copies are of other parameters.
        """
        present = []
        try:
            with torch.no_grad():
                for parameter, kept in self.pairs(parameters):
                    present.append((parameter, parameter.data))
                    parameter.data = _with_rows(kept, parameter.shape[0] if parameter.ndim else 0)
                yield
        finally:
            for parameter, data in present:
                parameter.data = data

    def copies(self) -> dict[str, Tensor]:
        """The tensors on the CPU, for a state."""
        return {name: tensor.to("cpu", copy=True) for name, tensor in self.tensors.items()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over the tensors of a state; they move to the parameters' device when used."""
        self.tensors = {name: tensor.clone() for name, tensor in tensors.items()}


def _with_rows(tensor: Tensor, num_rows: int) -> Tensor:
    if not tensor.ndim or tensor.shape[0] == num_rows:
        return tensor
    longer = tensor.new_zeros((num_rows, *tensor.shape[1:]))
    longer[: tensor.shape[0]] = tensor
    return longer
