"""Which directions the inputs of matrices lie in, kept in bounded memory.

N: inputs, D: their size, F: columns of the sketch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from everlearn.errors import StateError

__all__ = ["InputSketch", "InputWatch", "sketching_matrix"]

# Below this share of the largest, eigenvalues of a float32 sum are rounding errors.
_NEGLIGIBLE = 1e-5
# Inputs of a layer that are looked at in one forward pass: neighbouring tokens tell much the same. With 256
# it takes a fifth of a step's time for SmolLM2-135M.
_INPUTS_PER_PASS = 64


def sketching_matrix(num_columns: int, size: int, seed: int) -> Tensor:
    """Orthonormal columns (D, F) in random directions, F at most ``size``; the identity where that is D."""
    if size >= num_columns:
        return torch.eye(num_columns)
    generator = torch.Generator().manual_seed(seed)
    directions_DF = torch.randn(num_columns, size, generator=generator, dtype=torch.float64)
    basis_DF: Tensor = torch.linalg.qr(directions_DF).Q
    return basis_DF.float()


@dataclass(slots=True, eq=False)
class InputSketch:
    """Σ x xᵀ of all inputs x, seen through a matrix Ω (Tropp et al., "Fixed-rank approximation of a
    positive-semidefinite matrix from streaming data", NeurIPS 2017).

    Sums only: no single input is kept, and sketches with the same Ω add up.

    Attributes:
        sums_DF: (Σ x xᵀ)·Ω, float32.
        total: Σ ‖x‖², float64, a scalar.
    """

    sums_DF: Tensor
    total: Tensor

    @classmethod
    def of(cls, inputs_ND: Tensor, matrix_DF: Tensor) -> InputSketch:
        """The sketch of some inputs."""
        inputs_ND = inputs_ND.float()
        return cls(inputs_ND.T @ (inputs_ND @ matrix_DF), inputs_ND.square().sum(dtype=torch.float64))

    def add(self, other: InputSketch) -> None:
        """Take in what another sketch saw, in place."""
        self.sums_DF += other.sums_DF
        self.total += other.total

    def factor(self, matrix_DF: Tensor) -> Tensor:
        """X (D, F'), float64, with X Xᵀ close to Σ x xᵀ and nowhere above it (Nyström)."""
        sums_DF, matrix_DF = self.sums_DF.double(), matrix_DF.double()
        core_FF = matrix_DF.T @ sums_DF
        values, vectors = torch.linalg.eigh((core_FF + core_FF.T) / 2)
        is_kept = values > _NEGLIGIBLE * values[-1]
        factor: Tensor = sums_DF @ vectors[:, is_kept] / values[is_kept].sqrt()
        return factor


class InputWatch:
    """Sketches of the inputs of some layers, over all steps since ``clear``.

    Args:
        size: F, columns of a sketch.
        seed: Of the matrices that inputs are seen through.
    """

    def __init__(self, size: int, seed: int) -> None:
        self._size, self._seed = size, seed
        self._matrices: dict[int, Tensor] = {}
        self._hooks: list[RemovableHandle] = []
        self.sketches: dict[str, InputSketch] = {}
        # Of the step that is being made; it may yet be refused.
        self._seen: dict[str, InputSketch] = {}

    def begin(self, layers: Mapping[str, tuple[nn.Module, Tensor | None]]) -> None:
        """Look at the inputs of layers from now on; what was seen of a step that failed is dropped.

        Args:
            layers: By the name of the matrix that reads the inputs: the layer that is called with them, and a
                matrix that they go through first, if there is one.
        """
        self.end()
        self._seen = {}
        for name, (layer, first) in layers.items():
            self._hooks.append(layer.register_forward_pre_hook(self._look_for(name, first)))

    def end(self) -> None:
        """Look no longer. Nothing is left in the layers, so that copies of them are free of it."""
        while self._hooks:
            self._hooks.pop().remove()

    def commit(self) -> None:
        """The step was made: add what was seen of it to the sketches."""
        for name, sketch in self._seen.items():
            _add(self.sketches, name, sketch)
        self._seen = {}

    def clear(self) -> None:
        """Begin new sketches."""
        self.sketches = {}

    def matrix(self, num_columns: int, device: torch.device) -> Tensor:
        """Ω for inputs of this size."""
        found = self._matrices.get(num_columns)
        if found is None or found.device != device:
            found = sketching_matrix(num_columns, self._size, self._seed).to(device)
            self._matrices[num_columns] = found
        return found

    def _look_for(self, name: str, first: Tensor | None) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def look(layer: nn.Module, arguments: tuple[Any, ...]) -> None:
            if torch.is_grad_enabled():  # not where another method lets a teacher speak
                self._look(name, arguments[0].detach(), first)

        return look

    @torch.no_grad()
    def _look(self, name: str, inputs: Tensor, first: Tensor | None) -> None:
        inputs_ND = inputs.reshape(-1, inputs.shape[-1])
        inputs_ND = inputs_ND[:: max(1, math.ceil(len(inputs_ND) / _INPUTS_PER_PASS))]
        with torch.autocast(inputs.device.type, enabled=False):
            if first is not None:
                inputs_ND = inputs_ND.to(first.dtype) @ first.T
            sketch = InputSketch.of(inputs_ND, self.matrix(inputs_ND.shape[1], inputs.device))
        _add(self._seen, name, sketch)

    def tensors(self) -> dict[str, Tensor]:
        """Copies of the sketches on the CPU, for a state."""
        tensors = {}
        for name, sketch in self.sketches.items():
            tensors[f"{name}/sums"] = sketch.sums_DF.to("cpu", copy=True)
            tensors[f"{name}/total"] = sketch.total.to("cpu", copy=True)
        return tensors

    def load(self, names: Sequence[str], tensors: Mapping[str, Tensor]) -> None:
        """Replace the sketches. Raises StateError where one is missing."""
        self.end()
        self._seen = {}
        try:
            self.sketches = {
                name: InputSketch(tensors[f"{name}/sums"].clone(), tensors[f"{name}/total"].clone())
                for name in names
            }
        except KeyError as error:
            raise StateError(f"the saved sketches of inputs lack {error}") from error


def _add(sketches: dict[str, InputSketch], name: str, sketch: InputSketch) -> None:
    if name not in sketches:
        sketches[name] = sketch
        return
    present = sketches[name]
    if present.sums_DF.device != sketch.sums_DF.device:  # after a restore
        device = sketch.sums_DF.device
        present = sketches[name] = InputSketch(present.sums_DF.to(device), present.total.to(device))
    present.add(sketch)
