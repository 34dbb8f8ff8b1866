"""Which layers of a model share their weights: read from its configuration, imposed on its structure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch

from everlearn.errors import ConfigError, ModelError
from everlearn.models.tying.shared_linear import SharedLinear
from everlearn.types import Json

__all__ = ["Tying", "impose", "layer_stack", "tied_structure", "tying_of"]

_KEY = "everlearn_tying"


@dataclass(frozen=True, slots=True)
class Tying:
    """Groups of layers with shared weights.

    Attributes:
        groups: Of each layer, the number of its group: from 0, none left out, in order.
        rank: Of the part of every weight that is each layer's own, where it shares one; 0: there is none.
    """

    groups: tuple[int, ...]
    rank: int

    def __post_init__(self) -> None:
        if not self.groups or self.groups != tuple(sorted(self.groups)):
            raise ValueError("groups must ascend")
        if set(self.groups) != set(range(max(self.groups) + 1)):
            raise ValueError("groups must be numbered from 0, none left out")
        if self.rank < 0:
            raise ValueError("rank must be at least 0")

    @classmethod
    def even(cls, num_layers: int, num_unique: int, rank: int) -> Tying:
        """Groups of neighbours, of equal size as far as that goes.

        Raises:
            ConfigError: There cannot be so many.

        >>> Tying.even(6, 3, rank=8).groups
        (0, 0, 1, 1, 2, 2)
        """
        if not 1 <= num_unique <= num_layers:
            raise ConfigError(f"unique must be from 1 to {num_layers}, the model's layers, not {num_unique}")
        if rank < 0:
            raise ConfigError(f"rank must be at least 0, not {rank}")
        return cls(tuple(layer * num_unique // num_layers for layer in range(num_layers)), rank)

    @property
    def num_unique(self) -> int:
        """Groups."""
        return max(self.groups) + 1

    def members(self, group: int) -> list[int]:
        """The layers of a group."""
        return [layer for layer, own in enumerate(self.groups) if own == group]

    def note_in(self, config: Any) -> None:
        """Write it into a model's configuration."""
        setattr(config, _KEY, {**asdict(self), "groups": list(self.groups)})


def tying_of(config: Any) -> Tying | None:
    """What a model's configuration says; None: each layer has weights of its own.

    Raises:
        ModelError: It cannot be read.
    """
    noted: Json = getattr(config, _KEY, None)
    if noted is None:
        return None
    try:
        return Tying(tuple(int(group) for group in noted["groups"]), int(noted["rank"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{_KEY} in the model's config.json cannot be read: {error}") from error


def layer_stack(model: torch.nn.Module) -> torch.nn.ModuleList:
    """A model's layers.

    Raises:
        ModelError: They are not one list of layers that are alike, with linear layers in them.
    """
    config: Any = model.config
    num_layers = int(config.get_text_config().num_hidden_layers)
    stacks = [
        module
        for module in model.modules()
        if isinstance(module, torch.nn.ModuleList)
        and len(module) == num_layers
        and len({_shape(layer) for layer in module}) == 1
        and _linears(module[0])
    ]
    if len(stacks) != 1:
        kind = type(model).__name__
        raise ModelError(
            f"the layers of {kind} cannot be tied: they are no single list of layers that are alike"
        )
    return stacks[0]


def impose(model: torch.nn.Module, tying: Tying) -> None:
    """Let a model's layers share weights, in place: a group has those of its first layer.

    Raises:
        ModelError: The model has other layers.
    """
    stack = layer_stack(model)
    if len(stack) != len(tying.groups):
        raise ModelError(f"the model has {len(stack)} layers, and {len(tying.groups)} are said to be tied")
    for group in range(tying.num_unique):
        members = tying.members(group)
        first = stack[members[0]]
        for name, linear in _linears(first).items():
            for layer in members:
                _put(stack[layer], name, linear.weight, tying.rank if len(members) > 1 else 0)


def tied_structure(auto_class: Any, config: Any, **arguments: Any) -> Any:
    """A model as its class makes it, with its layers tied as its configuration says.

    Args:
        auto_class: One of transformers' ``AutoModel…``.
        config: Its configuration.
        **arguments: Of ``from_config``.
    """
    model = auto_class.from_config(config, **arguments)
    tying = tying_of(config)
    if tying is not None:
        impose(model, tying)
    return model


def _linears(layer: torch.nn.Module) -> dict[str, torch.nn.Linear]:
    return {name: part for name, part in layer.named_modules() if isinstance(part, torch.nn.Linear)}


def _shape(layer: torch.nn.Module) -> tuple[Any, ...]:
    # Where groups are of uneven size, a layer by itself has no part of low rank, and is alike all the same.
    return tuple(
        (name, tuple(tensor.shape))
        for name, tensor in layer.named_parameters()
        if not name.endswith((".residual_in", ".residual_out"))
    )


def _put(layer: torch.nn.Module, name: str, weight: torch.Tensor, rank: int) -> None:
    assert isinstance(weight, torch.nn.Parameter)
    parent, _, own = name.rpartition(".")
    holder = layer.get_submodule(parent)
    linear = getattr(holder, own)
    setattr(holder, own, SharedLinear(linear, weight, rank))
