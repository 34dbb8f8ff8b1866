"""Orthogonal subspaces: what was learned keeps its input directions, and new things are learned beside them.

R, D: rows and columns of a matrix, r: rank of an adapter, K: held directions, N: inputs.
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
from everlearn.learning.gradient.learner_state import with_prefix, without_prefix
from everlearn.learning.method import BoundaryContext, Method, StepContext
from everlearn.learning.objective import ForwardResult
from everlearn.methods.held_directions import (
    Directions,
    HeldDirections,
    adapter_factor,
    extend_directions,
    leading_directions,
    range_of,
)
from everlearn.methods.input_sketch import InputWatch
from everlearn.types import Boundary, State

__all__ = ["OrthogonalConfig", "OrthogonalDirections", "OrthogonalMode", "OrthogonalSubspaces"]

OrthogonalMode = Literal["projection", "penalty"]
OrthogonalDirections = Literal["inputs", "weights"]
_Side = Literal["inputs", "outputs"]


@dataclass(frozen=True, kw_only=True)
class OrthogonalConfig:
    """Settings of orthogonal subspaces.

    Attributes:
        directions: What is held. "inputs": the directions that inputs of trained matrices lay in since the
            boundary before. "weights": those in which trained matrices act most.
        mode: "projection": the held directions stay exactly as they are. "penalty": they are drawn back, and
            may be left where the loss gains more.
        weight: Of the penalty.
        energy: Share of the squared norm of inputs (or weights) that is held; in (0, 1]. Less leaves more
            room to learn.
        max_rank: Most held directions of a matrix; it bounds memory. Those with the smallest share go.
        seed: Of what inputs are seen through.

    Raises:
        ConfigError: Names the field and the value.
    """

    directions: OrthogonalDirections = "inputs"
    mode: OrthogonalMode = "projection"
    weight: float = 0.5
    energy: float = 0.95
    max_rank: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        for name, choices in (("directions", OrthogonalDirections), ("mode", OrthogonalMode)):
            if getattr(self, name) not in get_args(choices):
                raise ConfigError(
                    f"{name} must be one of {list(get_args(choices))}, not {getattr(self, name)!r}"
                )
        if not (self.weight >= 0.0 and math.isfinite(self.weight)):
            raise ConfigError(f"weight must be a number from 0, not {self.weight!r}")
        if not 0.0 < self.energy <= 1.0:
            raise ConfigError(f"energy must be in (0, 1], not {self.energy!r}")
        if self.max_rank < 1:
            raise ConfigError(f"max_rank must be at least 1, not {self.max_rank!r}")
        if not 0 <= self.seed < 2**63:
            raise ConfigError(f"seed must be in [0, 2**63), not {self.seed!r}")


class OrthogonalSubspaces(Method):
    """Holds directions that trained matrices work in up to a boundary; later updates are orthogonal to them.

    directions="inputs" (gradient projection memory: Saha, Garg and Roy, ICLR 2021, arXiv:2103.09762; for
    adapters InfLoRA: Liang and Li, CVPR 2024, arXiv:2404.00228): inputs of every trained linear layer are
    summed up in a sketch. At a boundary the directions Q that most of their energy lies in are added to those
    held. From then on a matrix W changes orthogonally to Q only, so that W·Qᵀ, what it makes of earlier
    inputs, stays. Both factors of a low-rank adapter are such matrices.

    directions="weights": adapters as in O-LoRA (Wang et al., "Orthogonal subspace learning for language model
    continual learning", 2023, arXiv:2310.14152), other matrices as in OSF (Nayak et al., "Sculpting
    subspaces", 2025, arXiv:2504.07097). O-LoRA adds an adapter for each task and keeps its rows A away from
    those of earlier ones. A stream has no number of tasks, so here there is one adapter for all, which stays
    as it is at a boundary. Held are the right singular vectors Q of B·A (rows of A start at random, and only
    the product says what was learned); A changes orthogonally to Q, and B, which is not a new one either,
    where it does not touch A·Qᵀ. OSF holds the leading singular directions of a matrix on both sides. What an
    adapter acts on is not what its inputs are: on small models "weights" saved nothing with adapters, and
    much with whole matrices.

    An adaptive optimizer scales each weight on its own and decays all of them, so an update leaves the
    subspace that its gradient lies in. So it is the weights that are put right after a step. That takes no
    copy of the weights before it: a matrix that maps the held directions to their images at the boundary is
    one all of whose updates were orthogonal to them, and rounding errors cannot add up. Gradients are
    projected as well, or the optimizer's moments and the clipping would see what is to be undone.

    Embeddings, output heads and vectors stay free. A matrix takes about 2 · max_rank · D numbers at most
    for sketch and directions, and max_rank · R for their images.

    Args:
        config: What is held and how.

    Example:
        >>> OrthogonalSubspaces(OrthogonalConfig(max_rank=16)).state().data["held"]
        []
    """

    def __init__(self, config: OrthogonalConfig | None = None) -> None:
        self.config = config if config is not None else OrthogonalConfig()
        self._held: dict[tuple[str, _Side], HeldDirections] = {}
        # A few columns more than directions are wanted, or the last of these would be told badly.
        self._watch = InputWatch(self.config.max_rank + 16, self.config.seed)

    def extend_batch(self, batch: Batch, context: StepContext) -> Batch:
        """The same batch; from here on inputs are looked at."""
        if self.config.directions == "inputs":
            self._watch.begin(_watched_layers(context.model, context.parameters))
        return batch

    def penalty(self, batch: Batch, result: ForwardResult, context: StepContext) -> Tensor | None:
        """The sum of weight · abs(held images - those of the boundary).

        The Σ |A_kept · Aᵀ| of O-LoRA for the change of A: what lies in the kept directions at the boundary is
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
        self._watch.end()
        if self.config.mode != "projection":
            return
        for parameter, side, held in self._matrices(context.parameters):
            if parameter.grad is not None:
                gradient = _oriented(parameter.grad, side)
                gradient.copy_(held.without(gradient))

    def after_step(self, fresh: Batch, context: StepContext) -> None:
        """Take them out of what the optimizer made of it, and take in the step's inputs."""
        self._watch.commit()
        if self.config.mode != "projection":
            return
        for parameter, side, held in self._matrices(context.parameters):
            matrix = _oriented(parameter, side)
            matrix.copy_(held.enforced(matrix))

    @torch.no_grad()
    def on_boundary(self, boundary: Boundary, context: BoundaryContext) -> None:
        """Add to what is held. The weights do not change."""
        if self.config.directions == "weights":
            self._hold_weights(context)
            return
        for name, sketch in self._watch.sketches.items():
            parameter = context.parameters[name]
            factor_DF = sketch.factor(self._watch.matrix(parameter.shape[1], sketch.sums_DF.device))
            self._extend(name, parameter, factor_DF, sketch.total)
        self._watch.clear()

    def _hold_weights(self, context: BoundaryContext) -> None:
        parameters = context.parameters
        for down_name, up_name in _adapters(parameters):
            down_rD, up_Rr = parameters[down_name].detach(), parameters[up_name].detach()
            factor_Dr = adapter_factor(down_rD, up_Rr)
            directions = self._extend(down_name, down_rD, factor_Dr, factor_Dr.square().sum())
            images_rK = down_rD.double() @ directions.basis_KD.to(down_rD.device).double().T
            self._hold(up_name, "inputs", up_Rr, range_of(images_rK))
        for name, parameter in _inner_matrices(context.model, parameters):
            inputs, outputs = leading_directions(
                parameter, energy=self.config.energy, max_rank=self.config.max_rank
            )
            self._hold(name, "inputs", parameter, inputs)
            self._hold(name, "outputs", parameter, outputs)

    def _extend(self, name: str, matrix_RD: Tensor, factor_DF: Tensor, total: Tensor) -> Directions:
        before = self._held.get((name, "inputs"))
        directions = extend_directions(
            before.directions if before is not None else Directions.none(matrix_RD.shape[1]),
            factor_DF,
            total,
            energy=self.config.energy,
            max_rank=self.config.max_rank,
        )
        self._hold(name, "inputs", matrix_RD, directions)
        return directions

    def _hold(self, name: str, side: _Side, matrix: Tensor, directions: Directions) -> None:
        if len(directions):
            self._held[name, side] = HeldDirections.of(_oriented(matrix.detach(), side), directions)
        else:
            self._held.pop((name, side), None)

    def _matrices(
        self, parameters: Mapping[str, nn.Parameter]
    ) -> Iterator[tuple[nn.Parameter, _Side, HeldDirections]]:
        for (name, side), held in self._held.items():
            parameter = parameters.get(name)
            if parameter is None or parameter.ndim != 2:
                raise StateError(f"held directions were saved of {name!r}, which this model does not train")
            expected = (len(held.images_RK), held.directions.basis_KD.shape[1])
            if _oriented(parameter, side).shape != expected:
                raise StateError(f"the held directions of {name!r} are of another model")
            held = self._held[name, side] = held.to(parameter.device)
            yield parameter, side, held

    def state(self) -> State:
        """What is held, and the sketches since the last boundary."""
        tensors = with_prefix("sketches", self._watch.tensors())
        for (name, side), held in self._held.items():
            tensors.update(with_prefix(f"held/{name}/{side}", held.tensors()))
        names = [[name, side] for name, side in self._held]
        return State(tensors, {"held": names, "sketches": list(self._watch.sketches)})

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
                tensors = without_prefix(f"held/{name}/{side}", state.tensors)
                held[name, side] = HeldDirections.from_tensors(tensors)
            sketches = [str(name) for name in state.data["sketches"]]
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"the saved directions are damaged: {error!r}") from error
        self._watch.load(sketches, without_prefix("sketches", state.tensors))
        self._held = held

    def forget(self, ids: Collection[str]) -> int:
        """0: sums over many inputs are kept, and no example."""
        return 0


def _oriented(matrix: Tensor, side: _Side) -> Tensor:
    """The matrix as it maps its inputs, or transposed, as its outputs are read."""
    return matrix if side == "inputs" else matrix.T


def _watched_layers(
    model: nn.Module, parameters: Mapping[str, nn.Parameter]
) -> dict[str, tuple[nn.Module, Tensor | None]]:
    """Trained matrices by name: which layer is called with their inputs, and what these go through first."""
    layers: dict[str, tuple[nn.Module, Tensor | None]] = {
        f"{name}.weight": (module, None)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and f"{name}.weight" in parameters and ".lora_" not in name
    }
    for down_name, up_name in _adapters(parameters):
        # The layer with the adapter: whether it calls the factors as modules of their own is its affair.
        layer = model.get_submodule(down_name.split(".lora_A.")[0])
        layers[down_name] = (layer, None)
        layers[up_name] = (layer, parameters[down_name])
    return layers


def _adapters(parameters: Mapping[str, nn.Parameter]) -> Iterator[tuple[str, str]]:
    """Names of the two factors of every low-rank adapter of a linear layer, as peft names them."""
    for name, parameter in parameters.items():
        up_name = name.replace(".lora_A.", ".lora_B.")
        if ".lora_A." in name and parameter.ndim == 2 and up_name in parameters:
            yield name, up_name


def _inner_matrices(
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
