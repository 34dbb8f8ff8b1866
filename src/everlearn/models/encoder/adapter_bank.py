"""Low-rank adapters of one trunk, of which every text of a forward pass may use another.

The trunk's weights are not changed: a copy of its structure, which shares them, has layers that add
scaling · B A x to what the trunk's own say (Hu et al. 2021, https://arxiv.org/abs/2106.09685). Where all rows
have one adapter that takes two products. Else A and B are gathered (as Punica does on a GPU; Chen et al.
2023, https://arxiv.org/abs/2310.18547), here text by text: the adapters of a row's texts stand side by side
as one of a higher rank, and each slot of the row keeps the part that is its own text's. That takes two
batched products, whatever the number of adapters. To a text without adapter zero is added.

Shapes: R rows, W slots a row, T texts a row at most, P places for adapters, r rank, K inputs, O outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import RLock
from typing import Any

import torch

from everlearn.errors import ModelError
from everlearn.models.encoder.load import Trunk
from everlearn.models.encoder.pooling import slots_of
from everlearn.models.encoder.rows import RowBatch
from everlearn.models.storage.adapters import Adapter, check_fits
from everlearn.models.storage.skeleton import structural_copy

__all__ = ["AdapterBank"]

_GROWTH = 1.5


@dataclass(slots=True)
class _Turn:
    """Which adapters the present forward pass uses; as made, none.

    Attributes:
        name: Of all rows.
        by_text: Or of each text of each row, R times T.
        own_RWT: Which slots are of which text; None: each row is of one.
    """

    name: str | None = None
    by_text: Sequence[str | None] | None = None
    own_RWT: torch.Tensor | None = None


class AdapterBank:
    """Holds adapters, and lets rows use them. One thread at a time.

    Args:
        trunk: Stays as it is.

    Attributes:
        trunk: As given, but for a model that can use the adapters.
        turns: Held by who uses it, where there are several threads.
    """

    def __init__(self, trunk: Trunk) -> None:
        self._turn = _Turn()
        self._layers: dict[str, _AdaptedLinear] = {}
        self._held: dict[str, list[str]] = {}  # layers of each adapter
        self._linear = {
            name: module
            for name, module in trunk.model.named_modules()
            if isinstance(module, torch.nn.Linear)
        }
        self._plain = trunk
        self.trunk = replace(trunk, model=structural_copy(trunk.model))
        self.turns = RLock()

    def __contains__(self, name: str) -> bool:
        return name in self._held

    def __len__(self) -> int:
        return len(self._held)

    @property
    def num_bytes(self) -> int:
        """What the adapters take, with room to spare."""
        return sum(layer.num_bytes for layer in self._layers.values())

    def add(self, name: str, adapter: Adapter) -> None:
        """Hold an adapter.

        Args:
            name: Of this version of it: one that changes needs another name.
            adapter: The adapter.

        Raises:
            ModelError: It is held already, or does not fit the trunk.
        """
        if name in self:
            raise ModelError(f"an adapter {name!r} is held already")
        check_fits(adapter, self._plain)
        for layer in adapter.layers:
            if layer not in self._layers:
                self._layers[layer] = self._adapted(layer)
            down, up = adapter.tensors[f"{layer}.lora_A"], adapter.tensors[f"{layer}.lora_B"]
            self._layers[layer].put(name, down, adapter.scaling * up.T)
        self._held[name] = adapter.layers

    def remove(self, name: str) -> None:
        """Let an adapter go. Raises KeyError if it is not held."""
        for layer in self._held.pop(name):
            self._layers[layer].drop(name)

    @contextmanager
    def using(self, name: str | None) -> Iterator[None]:
        """Within the block all rows use an adapter, or none."""
        with self._taking(_Turn(name=name)):
            yield

    @contextmanager
    def using_by_row(self, names: Sequence[str | None]) -> Iterator[None]:
        """Within the block each row (R) uses its own."""
        with self._taking(_Turn(by_text=names)):
            yield

    @contextmanager
    def using_by_text(self, names: Sequence[str | None], batch: RowBatch) -> Iterator[None]:
        """Within the block each text uses its own.

        Args:
            names: Of each of the batch's sequences.
            batch: Where they lie.
        """
        texts = int(batch.segments.max()) + 1
        by_text: list[str | None] = [None] * (batch.num_rows * texts)
        places = (batch.rows * texts + batch.segments).tolist()
        for place, name in zip(places, names, strict=True):
            by_text[place] = name
        own_RWT = None
        if texts > 1:
            rows, segments, slots = slots_of(batch)
            own_RWT = torch.zeros(
                batch.num_rows, batch.width, texts, dtype=self.trunk.dtype, device=self.trunk.device
            )
            own_RWT[rows, slots, segments] = 1
        with self._taking(_Turn(by_text=by_text, own_RWT=own_RWT)):
            yield

    @contextmanager
    def _taking(self, turn: _Turn) -> Iterator[None]:
        for layer in self._layers.values():
            layer.choose(turn)
        try:
            yield
        finally:
            for layer in self._layers.values():
                layer.choose(_Turn())

    def _adapted(self, name: str) -> _AdaptedLinear:
        parent_name, _, own = name.rpartition(".")
        made = _AdaptedLinear(self._linear[name], self.trunk.dtype)
        setattr(self.trunk.model.get_submodule(parent_name), own, made)
        return made


class _AdaptedLinear(torch.nn.Module):
    """A linear layer and its adapters."""

    def __init__(self, linear: torch.nn.Linear, dtype: torch.dtype) -> None:
        super().__init__()
        self.linear = linear
        self._dtype = dtype
        self._places: dict[str, int] = {}
        self._free: list[int] = []
        # Place 0 is that of rows without adapter: zeros.
        device = linear.weight.device
        self._down = torch.zeros(1, 0, linear.in_features, dtype=dtype, device=device)
        self._up = torch.zeros(1, 0, linear.out_features, dtype=dtype, device=device)
        self._ranks = [0]
        self._chosen: int | torch.Tensor | None = None
        self._rank = 0  # of what is chosen, at most
        self._own_RWT: torch.Tensor | None = None

    @property
    def weight(self) -> torch.Tensor:
        """The trunk's own."""
        return self.linear.weight

    @property
    def num_bytes(self) -> int:
        return self._down.nbytes + self._up.nbytes

    def put(self, name: str, down: torch.Tensor, up: torch.Tensor) -> None:
        """Hold A (r, K) and B' (r, O)."""
        rank = len(down)
        if not self._free:
            more = max(1, int(len(self._ranks) * (_GROWTH - 1)))
            self._free = list(range(len(self._ranks) + more - 1, len(self._ranks) - 1, -1))
            self._ranks += [0] * more
        places, most = len(self._ranks), max(rank, self._down.shape[1])
        self._down = _with_room(self._down, places, most, self._down.shape[2])
        self._up = _with_room(self._up, places, most, self._up.shape[2])
        place = self._places[name] = self._free.pop()
        self._ranks[place] = rank
        self._down[place].zero_()[:rank] = down.to(self._dtype)
        self._up[place].zero_()[:rank] = up.to(self._dtype)

    def drop(self, name: str) -> None:
        place = self._places.pop(name)
        self._ranks[place] = 0
        self._free.append(place)

    def choose(self, turn: _Turn) -> None:
        """Which adapters the next forward passes use."""
        self._own_RWT = turn.own_RWT
        if turn.by_text is None:
            place = 0 if turn.name is None else self._places.get(turn.name, 0)
            self._chosen = place or None
            self._rank = self._ranks[place]
            return
        places = [0 if name is None else self._places.get(name, 0) for name in turn.by_text]
        self._chosen = torch.tensor(places, device=self._down.device) if any(places) else None
        self._rank = max((self._ranks[place] for place in set(places)), default=0)

    def forward(self, inputs_RWK: torch.Tensor) -> Any:
        own_RWO = self.linear(inputs_RWK)
        chosen, rank = self._chosen, self._rank
        if chosen is None:
            return own_RWO
        if isinstance(chosen, int):
            flat = inputs_RWK.flatten(0, -2) @ self._down[chosen, :rank].T
            return torch.addmm(own_RWO.flatten(0, -2), flat, self._up[chosen, :rank]).view(own_RWO.shape)
        num_rows = len(inputs_RWK)
        down_RtK = self._down[:, :rank].index_select(0, chosen).view(num_rows, -1, self._down.shape[2])
        up_RtO = self._up[:, :rank].index_select(0, chosen).view(num_rows, -1, self._up.shape[2])
        low_RWt = torch.bmm(inputs_RWK, down_RtK.transpose(1, 2))
        if self._own_RWT is not None:
            by_text_RWTr = low_RWt.view(*self._own_RWT.shape, rank)
            low_RWt = (by_text_RWTr * self._own_RWT[..., None]).flatten(2)
        return torch.baddbmm(own_RWO, low_RWt, up_RtO)


def _with_room(tensor: torch.Tensor, *sizes: int) -> torch.Tensor:
    if tensor.shape == sizes:
        return tensor
    larger = tensor.new_zeros(sizes)
    larger[tuple(slice(size) for size in tensor.shape)] = tensor
    return larger
