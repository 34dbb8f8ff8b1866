"""Orthogonal subspaces: what was learned keeps its input directions, and new things are learned beside them.

R, D: rows and columns of a matrix, r: rank of an adapter, K: held directions.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from everlearn.errors import ConfigError, StateError
from everlearn.learning.batch import Batch
from everlearn.learning.gradient.growing_head import GrowingHead
from everlearn.learning.method import BoundaryContext, Method, StepContext
from everlearn.learning.objective import ForwardResult
from everlearn.methods.held_directions import (
    HeldDirections,
    adapter_directions,
    matrix_directions,
    range_of,
)
from everlearn.types import Boundary, State

__all__ = ["OrthogonalConfig", "OrthogonalMode", "OrthogonalSubspaces"]

OrthogonalMode = Literal["projection", "penalty"]
_Side = Literal["inputs", "outputs"]


@dataclass(frozen=True, kw_only=True)
class OrthogonalConfig:
    """Settings of orthogonal subspaces.

    Attributes:
        mode: "projection": the held directions stay exactly as they are. "penalty": they are drawn back, and
            may be left where the loss gains more.
        weight: Of the penalty.
        energy: Share of the squared norm of what was learned that is held; in (0, 1].
        max_rank: Most held directions of a matrix: it bounds memory, and leaves room to learn. Those go that
            least is done with.

    Raises:
        ConfigError: Names the field and the value.
    """

    mode: OrthogonalMode = "projection"
    weight: float = 0.5
    energy: float = 0.9
    max_rank: int = 32

    def __post_init__(self) -> None:
        if self.mode not in get_args(OrthogonalMode):
            raise ConfigError(f"mode must be one of {list(get_args(OrthogonalMode))}, not {self.mode!r}")
        if not (self.weight >= 0.0 and math.isfinite(self.weight)):
            raise ConfigError(f"weight must be a number from 0, not {self.weight!r}")
        if not 0.0 < self.energy <= 1.0:
            raise ConfigError(f"energy must be in (0, 1], not {self.energy!r}")
        if self.max_rank < 1:
            raise ConfigError(f"max_rank must be at least 1, not {self.max_rank!r}")


class OrthogonalSubspaces(Method):
    """Holds the directions in which trained matrices act at a boundary; later updates are orthogonal to them.

    *Adapters* (O-LoRA: Wang et al., "Orthogonal subspace learning for language model continual learning",
    2023, arXiv:2310.14152). The paper adds a new adapter for each task and keeps its rows A away from those
    of earlier ones. A stream has no number of tasks, so here there is one adapter for all, which stays as it
    is at a boundary. Held are the right singular vectors Q of B·A: rows of A start at random, and only the
    product says what was learned by them. From then on A may change in directions orthogonal to Q only, and
    B only where it does not touch A·Qᵀ, so that B·A·Qᵀ stays: outputs for inputs in the span of Q are those
    of the boundary. (The paper's B is new and needs no such rule.) Once as many directions are held as the
    adapter has ranks, B rests and A goes on.

    *Other matrices* (OSF: Nayak et al., "Sculpting subspaces", 2025, arXiv:2504.07097): held are the leading
    singular directions, on both sides, renewed at every boundary. Embeddings, output heads and vectors stay
    free.

    An adaptive optimizer scales each weight on its own and decays all of them, so an update leaves the
    subspace that its gradient lies in. So it is the weights that are put right after a step. That takes no
    copy of the weights before it: a matrix that maps the held directions to their images at the boundary is
    one all of whose updates were orthogonal to them, and rounding errors cannot add up. Gradients are
    projected as well, or the optimizer's moments and the clipping would see what is to be undone.

    Args:
        config: Mode, energy, rank.

    Example:
        >>> OrthogonalSubspaces(OrthogonalConfig(max_rank=16)).num_held
        0
    """

    def __init__(self, config: OrthogonalConfig | None = None) -> None:
        self.config = config if config is not None else OrthogonalConfig()
        self._held: dict[tuple[str, _Side], HeldDirections] = {}

    @property
    def num_held(self) -> int:
        """Directions that are held, over all matrices."""
        return sum(len(held.basis_KD) for held in self._held.values())

    def penalty(self, batch: Batch, result: ForwardResult, context: StepContext) -> Tensor | None:
        """The sum of weight · abs(held images - those of the boundary).

        The paper's Σ |A_kept · Aᵀ| for the change of A: what lies in the kept directions at the boundary is
        what must stay there.
        """
        if self.config.mode != "penalty" or self.config.weight == 0.0:
            return None
        deviations = [
            held.deviation(_oriented(parameter, side)).abs().sum()
            for parameter, side, held in self._matrices(context.parameters)
        ]
        return self.config.weight * torch.stack(deviations).sum() if deviations else None

    @torch.no_grad()
    def adjust_gradients(self, context: StepContext) -> None:
        """Take the held directions out of the gradients."""
        if self.config.mode != "projection":
            return
        for parameter, side, held in self._matrices(context.parameters):
            if parameter.grad is not None:
                gradient = _oriented(parameter.grad, side)
                gradient.copy_(held.without(gradient))

    def after_step(self, fresh: Batch, context: StepContext) -> None:
        """Take them out of what the optimizer made of it."""
        if self.config.mode != "projection":
            return
        for parameter, side, held in self._matrices(context.parameters):
            matrix = _oriented(parameter, side)
            matrix.copy_(held.enforced(matrix))

    @torch.no_grad()
    def on_boundary(self, boundary: Boundary, context: BoundaryContext) -> None:
        """Add what was learned to what is held. The weights do not change."""
        parameters = context.parameters
        for down_name, up_name in _adapters(parameters):
            self._hold_adapter(down_name, parameters[down_name], up_name, parameters[up_name])
        for name, parameter in _free_matrices(context.model, parameters):
            inputs, outputs = matrix_directions(
                parameter, energy=self.config.energy, max_rank=self.config.max_rank
            )
            self._hold(name, "inputs", parameter, inputs)
            self._hold(name, "outputs", parameter, outputs)

    def _hold_adapter(self, down_name: str, down_rD: Tensor, up_name: str, up_Rr: Tensor) -> None:
        before = self._held.get((down_name, "inputs"))
        held_KD = before.basis_KD.to(down_rD.device) if before is not None else down_rD[:0]
        basis_KD = adapter_directions(
            down_rD, up_Rr, held_KD, energy=self.config.energy, max_rank=self.config.max_rank
        )
        self._hold(down_name, "inputs", down_rD, basis_KD)
        self._hold(up_name, "inputs", up_Rr, range_of(down_rD.double() @ basis_KD.T))

    def _hold(self, name: str, side: _Side, parameter: Tensor, basis: Tensor) -> None:
        if len(basis):
            self._held[name, side] = HeldDirections.of(_oriented(parameter.detach(), side), basis)
        else:
            self._held.pop((name, side), None)

    def _matrices(
        self, parameters: Mapping[str, nn.Parameter]
    ) -> Iterator[tuple[nn.Parameter, _Side, HeldDirections]]:
        for (name, side), held in self._held.items():
            parameter = parameters.get(name)
            shape = _oriented(parameter, side).shape if parameter is not None and parameter.ndim == 2 else ()
            if parameter is None or shape != (len(held.images_RK), held.basis_KD.shape[1]):
                raise StateError(f"the saved directions of {name!r} are of another model")
            if held.basis_KD.device != parameter.device:  # after a restore
                held = HeldDirections(held.basis_KD.to(parameter.device), held.images_RK.to(parameter.device))
                self._held[name, side] = held
            yield parameter, side, held

    def state(self) -> State:
        """The held directions and their images."""
        tensors = {
            f"{name}/{side}/{key}": tensor
            for (name, side), held in self._held.items()
            for key, tensor in held.tensors().items()
        }
        return State(tensors, {"held": [[name, side] for name, side in self._held]})

    def restore(self, state: State) -> None:
        """Replace what is held; whether it fits the model shows at the next step.

        Raises:
            StateError: The state is damaged.
        """
        held: dict[tuple[str, _Side], HeldDirections] = {}
        try:
            for name, side in state.data["held"]:
                if side not in get_args(_Side):
                    raise ValueError(f"no side {side!r}")
                start = f"{name}/{side}/"
                held[name, side] = HeldDirections.from_tensors(
                    {key: state.tensors[start + key] for key in ("basis", "images")}
                )
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"the saved directions are damaged: {error!r}") from error
        self._held = held

    def forget(self, ids: Collection[str]) -> int:
        """0: no example is stored."""
        return 0


def _oriented(matrix: Tensor, side: _Side) -> Tensor:
    """The matrix as it maps its inputs, or transposed, as its outputs are read."""
    return matrix if side == "inputs" else matrix.T


def _adapters(parameters: Mapping[str, nn.Parameter]) -> Iterator[tuple[str, str]]:
    """Names of the two factors of every low-rank adapter of a linear layer, as peft names them."""
    for name, parameter in parameters.items():
        up_name = name.replace(".lora_A.", ".lora_B.")
        if ".lora_A." in name and parameter.ndim == 2 and up_name in parameters:
            yield name, up_name


def _free_matrices(
    model: nn.Module, parameters: Mapping[str, nn.Parameter]
) -> Iterator[tuple[str, nn.Parameter]]:
    """Trained matrices within the network: no adapters, no embeddings, no head."""
    get_output = getattr(model, "get_output_embeddings", None)
    output = get_output() if get_output is not None else None
    left_out = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, (nn.Embedding, GrowingHead)) or module is output
        for parameter in module.parameters(recurse=False)
    }
    for name, parameter in parameters.items():
        if parameter.ndim == 2 and "lora_" not in name and id(parameter) not in left_out:
            yield name, parameter
