"""Carries the attention cache: keys and values of a document's first tokens and of its last ones.

Legend: R rows, L tokens of a row, P carried slots, S = P + L, H hidden size; B H P D as in ``slots``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache

from everlearn.context.carry import Carry, CarryConfig, CarryResult, Rows
from everlearn.context.decoder import USE_NONE, causal_lm_of, decoder_of, position_limit, takes
from everlearn.context.decoding import CarriedLayer, document_starts, run_decoder
from everlearn.context.rotary import Rotation, find_rotations
from everlearn.context.slots import Slots
from everlearn.errors import ConfigError, ModelError, StateError
from everlearn.types import State

__all__ = ["AttentionCarry"]

_PLACES = ("document_BP", "position_BP", "rotation_BP")


_KNOWN: WeakKeyDictionary[nn.Module, list[Rotation] | None] = WeakKeyDictionary()


def _rotations_of(model: nn.Module) -> list[Rotation] | None:
    # Looking takes a second, each score makes a carry anew, and nothing that training changes matters to it.
    decoder = decoder_of(model)
    if decoder not in _KNOWN:
        _KNOWN[decoder] = find_rotations(model)
    return _KNOWN[decoder]


class _Placed(NamedTuple):
    """Where a row's tokens and its usable slots stand for the model."""

    past: Slots | None
    sink_shift_RP: Tensor | None
    position_RL: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class _Carried:
    past: Slots | None
    new: Slots


class AttentionCarry(Carry):
    """Keys and values of the first ``sinks`` tokens of a lane's document and of its last ``window``.

    The first tokens draw much of the attention whatever they say, and a model without them breaks down
    (Xiao et al., "Efficient streaming language models with attention sinks", arXiv:2309.17453). With
    rotary embeddings only distances matter, so the sinks are turned forward, from the keys as they were
    first computed, to stand directly before the window: no distance exceeds sinks + window + L. What the
    model is told as positions stays below its trained length: when it would not, the window's keys are
    turned back to stand directly behind the sinks (in float32, once in many chunks). With ``window=None``
    everything is kept and positions grow with the document.

    A model with learned positions cannot be shifted: its context grows up to its last position, then it
    starts anew in the middle of the document.

    Args:
        model: The causal LM whose context is carried; only looked at.
        config: The settings.
        num_lanes: B.

    Raises:
        ModelError: The model has no cache of keys and values, or takes no positions.
        ConfigError: Sinks and window do not fit into the model's trained length.
    """

    kind = "attention"

    def __init__(self, model: nn.Module, config: CarryConfig, num_lanes: int) -> None:
        super().__init__(config, num_lanes)
        causal_lm = causal_lm_of(model)
        if not takes(decoder_of(model), "position_ids"):
            raise ModelError(
                f"{type(causal_lm).__name__} takes no positions, so its cache cannot be carried; {USE_NONE}"
            )
        self._rotations = _rotations_of(model)
        self._limit = position_limit(model)
        kept = config.sinks + (config.window or 0)
        if self._rotations is not None and self._limit is not None and kept >= self._limit:
            raise ConfigError(
                f"sinks + window must be below the model's trained length of {self._limit}, not {kept}"
            )
        # A window that is no part of the mask is counted in slots, also in those that are empty.
        self._counts_slots = getattr(decoder_of(model).config, "window_size", None) is not None
        self._device = next(causal_lm.parameters()).device
        self._slots: Slots | None = None

    @property
    def is_rotary(self) -> bool:
        """Whether the model's keys can be moved, so that a document may be longer than its positions."""
        return self._rotations is not None

    def forward(self, model: nn.Module, rows: Rows) -> CarryResult:
        """See ``Carry``.

        Raises:
            ModelError: Gradient checkpointing of transformers dropped the cache; or a row does not fit
                into the model's positions.
        """
        placed = self._place(rows)
        past, told_RP = placed.past, None
        if past is not None:
            told_RP = past.rotation_BP
            if placed.sink_shift_RP is not None:
                told_RP = told_RP + placed.sink_shift_RP
            past = replace(past, keys=self._turned(past, placed.sink_shift_RP))
        if self._counts_slots and past is not None:
            states_RLH, keys, values = self._run_alone(model, rows, placed.position_RL, past, told_RP)
        else:
            states_RLH, keys, values = self._run(model, rows, placed.position_RL, past, told_RP)
        places = (rows.document_RL, rows.position_RL, placed.position_RL)
        return CarryResult(states_RLH, _Carried(placed.past, Slots(keys, values, *places)))

    def _run(
        self,
        model: nn.Module,
        rows: Rows,
        position_RL: Tensor,
        past: Slots | None,
        told_RP: Tensor | None,
    ) -> tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Hidden states, and the new keys and values of each layer."""
        if past is None:
            layers = [CarriedLayer(None, None) for _ in range(self._num_layers(model))]
        else:
            layers = [CarriedLayer(*pair) for pair in zip(past.keys, past.values, strict=True)]
        documents_RP = None if past is None else past.document_BP
        states_RLH = run_decoder(model, rows, position_RL, Cache(layers=[*layers]), documents_RP, told_RP)
        keys = tuple(layer.new_keys for layer in layers if layer.new_keys is not None)
        values = tuple(layer.new_values for layer in layers if layer.new_values is not None)
        if len(keys) != len(layers):
            raise ModelError(
                "the model dropped its cache: turn off transformers' gradient checkpointing, which cannot "
                "be combined with a cache"
            )
        return states_RLH, keys, values

    def _run_alone(
        self, model: nn.Module, rows: Rows, position_RL: Tensor, past: Slots, told_RP: Tensor | None
    ) -> tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]]:
        """The same row by row, each with as many slots as it uses."""
        parts = []
        for number in range(len(rows.lanes_R)):
            row = torch.tensor([number], device=rows.lanes_R.device)
            own = past.rows(row)
            own = own.first(own.num_used())
            places = (rows.lanes_R, rows.ids_RL, rows.document_RL, rows.position_RL)
            told = None if told_RP is None else told_RP[row, : own.num_slots]
            parts.append(
                self._run(
                    model,
                    Rows(*(place[row] for place in places)),
                    position_RL[row],
                    own if own.num_slots else None,
                    told if own.num_slots else None,
                )
            )
        states, keys, values = zip(*parts, strict=True)
        return (
            torch.cat(states),
            tuple(torch.cat(of_layer) for of_layer in zip(*keys, strict=True)),
            tuple(torch.cat(of_layer) for of_layer in zip(*values, strict=True)),
        )

    def _num_layers(self, model: nn.Module) -> int:
        return int(decoder_of(model).config.get_text_config().num_hidden_layers)

    def _place(self, rows: Rows) -> _Placed:
        document_RL, position_RL = rows.document_RL, rows.position_RL
        # Each document counts from its first token in the row, unless the lane carries its beginning.
        origin_RL = position_RL.gather(1, document_starts(document_RL))
        past = self._usable(rows)
        if past is None:
            told_RL = position_RL - origin_RL
            return _Placed(None, None, self._fitting(told_RL, document_RL))
        is_first_RL = document_RL == document_RL[:, :1]
        used_RP = past.document_BP >= 0
        num_used_R = used_RP.sum(1)
        last_R1 = (num_used_R - 1).clamp(min=0)[:, None]
        offset_R1 = past.position_BP.gather(1, last_R1) - past.rotation_BP.gather(1, last_R1)
        is_carried_R1 = num_used_R[:, None] > 0

        def told(offset_R1: Tensor) -> Tensor:
            carried_RL = torch.where(is_carried_R1 & is_first_RL, offset_R1, origin_RL)
            return position_RL - carried_RL

        told_RL = told(offset_R1)
        if self._limit is None or (self.is_rotary and self.config.window is None):
            is_over_R1 = torch.zeros_like(is_carried_R1)
        else:
            last_told_R1 = torch.where(is_first_RL, told_RL, 0).amax(1, keepdim=True)
            is_over_R1 = is_carried_R1 & (last_told_R1 >= self._limit)
        sink_shift_RP = None
        if self.is_rotary:
            is_sink_RP = used_RP & (past.position_BP < self.config.sinks)
            num_sinks_R1 = is_sink_RP.sum(1, keepdim=True)
            window_R1 = past.rotation_BP.gather(1, num_sinks_R1.clamp(max=past.num_slots - 1))
            if bool(is_over_R1.any()):
                back_R1 = torch.where(is_over_R1, num_sinks_R1 - window_R1, 0)
                shift_RP = torch.where(used_RP & ~is_sink_RP, back_R1, 0)
                past = replace(
                    past, keys=self._turned(past, shift_RP), rotation_BP=past.rotation_BP + shift_RP
                )
                window_R1 = window_R1 + back_R1
                told_RL = told(offset_R1 - back_R1)
            column_P = torch.arange(past.num_slots, device=document_RL.device)
            target_RP = window_R1 - num_sinks_R1 + column_P
            has_window_R1 = num_sinks_R1 < num_used_R[:, None]
            sink_shift_RP = torch.where(is_sink_RP & has_window_R1, target_RP - past.rotation_BP, 0)
        elif bool(is_over_R1.any()):
            past = replace(past, document_BP=past.document_BP.masked_fill(is_over_R1, -1))
            is_carried_R1 = is_carried_R1 & ~is_over_R1
            told_RL = told(offset_R1)
        return _Placed(past, sink_shift_RP, self._fitting(told_RL, document_RL))

    def _usable(self, rows: Rows) -> Slots | None:
        """The rows' slots of the document that the row goes on with; None where no row has any."""
        if self._slots is None or not self._slots.num_slots:
            return None
        document_RP = self._slots.document_BP.index_select(0, rows.lanes_R)
        usable_RP = document_RP == rows.document_RL[:, :1]
        num_slots = int(usable_RP.sum(1).max())
        if not num_slots:
            return None
        slots = self._slots.first(num_slots)
        if len(rows.lanes_R) < self.num_lanes or not bool((rows.lanes_R.diff() == 1).all()):
            slots = slots.rows(rows.lanes_R)
        # A lane's slots are of one document, so that all of a row's are usable or none.
        return replace(slots, document_BP=slots.document_BP.masked_fill(~usable_RP[:, :num_slots], -1))

    def _fitting(self, told_RL: Tensor, document_RL: Tensor) -> Tensor:
        """The positions, 0 where padded, if the model has that many."""
        is_bounded = self.config.window is not None or not self.is_rotary
        told_RL = torch.where(document_RL >= 0, told_RL, 0)
        last = int(told_RL.max())
        if is_bounded and self._limit is not None and last >= self._limit:
            raise ModelError(
                f"sinks, window and chunk together reach position {last}, but the model was trained with "
                f"{self._limit} positions; choose a smaller window or shorter chunks"
            )
        return told_RL

    def _turned(self, slots: Slots, shift_RP: Tensor | None) -> tuple[Tensor, ...]:
        """The keys of each layer, moved by ``shift_RP`` positions."""
        if shift_RP is None or self._rotations is None or not bool(shift_RP.any()):
            return slots.keys
        # Sinks come first, so that turning them leaves the window where it is.
        stop = int((shift_RP != 0).any(0).nonzero().max()) + 1
        dtype, shift_RP = slots.keys[0].dtype, shift_RP[:, :stop]
        angles = {rotation: rotation.angles(shift_RP, dtype) for rotation in set(self._rotations)}
        return tuple(
            torch.cat((rotation.turn(keys[:, :, :stop], angles[rotation]), keys[:, :, stop:]), 2)
            for rotation, keys in zip(self._rotations, slots.keys, strict=True)
        )

    def advance(self, rows: Rows, result: CarryResult, detach: bool = True) -> None:
        """See ``Carry``: keeps sinks and window of the document of each row's last token."""
        carried: _Carried = result.carried
        slots = carried.new if carried.past is None else carried.past.followed_by(carried.new)
        last_R1 = ((rows.document_RL >= 0).sum(1) - 1).clamp(min=0)[:, None]
        document_R1 = rows.document_RL.gather(1, last_R1)
        keep_RS = (slots.document_BP == document_R1) & (document_R1 >= 0)
        if self.config.window is not None:
            next_R1 = rows.position_RL.gather(1, last_R1) + 1
            is_recent_RS = slots.position_BP >= next_R1 - self.config.window
            keep_RS &= is_recent_RS | (slots.position_BP < self.config.sinks)
        kept = slots.keep(keep_RS).stored_as(self.config.tensor_dtype)
        self._store(rows.lanes_R, kept.detached() if detach else kept)

    def _store(self, lanes_R: Tensor, slots: Slots) -> None:
        if len(lanes_R) == self.num_lanes and bool((lanes_R.diff() == 1).all()):
            self._slots = slots
            return
        present = self._slots
        if present is None:
            keys, values = (
                tuple(tensor.new_zeros(self.num_lanes, *tensor.shape[1:]) for tensor in tensors)
                for tensors in (slots.keys, slots.values)
            )
            empty_BP = slots.document_BP.new_zeros(self.num_lanes, slots.num_slots)
            present = Slots(keys, values, empty_BP - 1, empty_BP, empty_BP)
        self._slots = present.with_rows(lanes_R, slots)

    def detach(self) -> None:
        """See ``Carry``."""
        if self._slots is not None:
            self._slots = self._slots.detached()

    def reset(self, lanes: Sequence[int]) -> None:
        """See ``Carry``."""
        if self._slots is not None and len(lanes):
            self._slots = self._slots.without_rows(lanes)

    @property
    def num_bytes(self) -> int:
        """See ``Carry``."""
        return 0 if self._slots is None else self._slots.num_bytes

    @property
    def num_slots(self) -> int:
        """Slots of the fullest lane."""
        return 0 if self._slots is None else self._slots.num_slots

    def state(self) -> State:
        """See ``Carry``."""
        slots = self._slots
        tensors: dict[str, Tensor] = {}
        if slots is not None:
            for name in ("keys", "values"):
                for layer, tensor in enumerate(getattr(slots, name)):
                    tensors[f"{name}/{layer}"] = tensor.detach().clone().contiguous()
            tensors.update({name: getattr(slots, name).clone() for name in _PLACES})
        num_layers = 0 if slots is None else len(slots.keys)
        return State(tensors, {**self._settings(), "num_layers": num_layers})

    def restore(self, state: State) -> None:
        """See ``Carry``."""
        self._check_settings(state)
        try:
            num_layers = int(state.data["num_layers"])
            if not num_layers:
                self._slots = None
                return
            keys, values = (
                tuple(self._own(state.tensors[f"{name}/{layer}"]) for layer in range(num_layers))
                for name in ("keys", "values")
            )
            places = [self._own(state.tensors[name]) for name in _PLACES]
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"the saved context is damaged: {error!r}") from error
        if any(len(place) != self.num_lanes for place in places):
            raise StateError("the saved context is damaged: it is not of this number of lanes")
        self._slots = Slots(keys, values, *places)

    def _own(self, tensor: Tensor) -> Tensor:
        return tensor.clone().to(self._device)

    def _settings(self) -> dict[str, Any]:
        return {**super()._settings(), "sinks": self.config.sinks, "window": self.config.window}
