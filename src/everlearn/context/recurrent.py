"""Carries the states of recurrent models: Mamba, Mamba-2, RWKV, gated delta nets.

Legend: R rows, L tokens of a row, B rows of one length, H hidden size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache, DynamicCache, LinearAttentionCacheLayerMixin

from everlearn.context.carry import Carry, CarryConfig, CarryResult, Rows
from everlearn.context.decoder import USE_NONE, causal_lm_of, decoder_of, evaluating, takes
from everlearn.context.lane_states import LaneStates
from everlearn.context.mamba_start import is_mamba, starting_from
from everlearn.errors import ModelError
from everlearn.types import State

__all__ = ["RecurrentCarry"]

_States = dict[str, Tensor]

# RWKV keeps the largest exponent so far as its fifth state, which starts at minus infinity.
_RWKV_FRESH = {"rwkv/4": -1e30}


class _StateLayer(LinearAttentionCacheLayerMixin):
    """The states of one layer, replaced rather than overwritten, so that nothing carried changes."""

    def __init__(self, number_of_states: int) -> None:
        super().__init__(number_of_states=number_of_states)
        # Keeps mixers from updating the convolution's state in place when they get a single token.
        self.record_past = True

    def remember(self) -> None:
        """Take the present states for those that the pass begins with."""
        self._first = (
            dict(self.conv_states),
            dict(self.recurrent_states),
            dict(self.has_previous_state),
        )

    def begin_again(self) -> None:
        """Go back to what was remembered."""
        conv_states, recurrent_states, has_previous_state = self._first
        self.conv_states, self.recurrent_states = dict(conv_states), dict(recurrent_states)
        self.has_previous_state = dict(has_previous_state)

    def lazy_initialization(
        self, conv_states: Tensor | None = None, recurrent_states: Tensor | None = None, state_idx: int = 0
    ) -> None:
        """Nothing to prepare."""

    def update_conv_state(
        self, conv_states: Tensor, state_idx: int = 0, conv_kernel_size: int | None = None, **kwargs: Any
    ) -> Tensor:
        """All that the convolution sees."""
        before = self.conv_states[state_idx]
        if before is None:
            size = conv_kernel_size or conv_states.shape[-1]
            missing = max(0, size - conv_states.shape[-1])
            full = nn.functional.pad(conv_states, (missing, 0))
        else:
            size = before.shape[-1]
            full = torch.cat((before, conv_states), -1)
        self.conv_states[state_idx] = full[..., -size:]
        self.has_previous_state[state_idx] = True
        return full

    def update_recurrent_state(self, recurrent_states: Tensor, state_idx: int = 0, **kwargs: Any) -> Tensor:
        """The state after the last token."""
        self.recurrent_states[state_idx] = recurrent_states
        return recurrent_states


class _StateCache(Cache):
    """The states of all layers in one pass, which checkpointing may begin again."""

    def __init__(self, decoder: Any, layers: list[_StateLayer], starts: Mapping[int, Tensor]) -> None:
        super().__init__(layers=[*layers])
        self._decoder, self._starts, self._own_layers = decoder, starts, layers
        for layer in layers:
            layer.remember()

    def begin(self) -> AbstractContextManager[dict[int, Tensor]]:
        """The decoder with its mixers starting from their states; see ``starting_from``."""
        return starting_from(self._decoder, self._starts)

    @contextmanager
    def again(self) -> Iterator[None]:
        """Within the block a layer may be computed once more, as in the first pass."""
        for layer in self._own_layers:
            layer.begin_again()
        with self.begin():
            yield


class _RwkvColumns:
    """One of RWKV's states as its blocks index it, ``state[:, :, layer]``; each layer's is replaced."""

    def __init__(self, state_BHN: Tensor) -> None:
        self.layers = list(state_BHN.unbind(-1))
        self._first = tuple(self.layers)

    @contextmanager
    def again(self) -> Iterator[None]:
        """Within the block a layer may be computed once more, as in the first pass."""
        self.layers = list(self._first)
        yield

    def __getitem__(self, key: tuple[slice, slice, int]) -> Tensor:
        return self.layers[key[2]]

    def __setitem__(self, key: tuple[slice, slice, int], value: Tensor) -> None:
        self.layers[key[2]] = value


class RecurrentCarry(Carry):
    """The states that a recurrent model leaves after a chunk: of fixed size, however long the document.

    Such a model cannot start anew within a row, so a row holds one document. Rows of different lengths
    are run apart, as padding would go into their states.

    Args:
        model: The causal LM whose context is carried; it is run on a few tokens.
        config: The settings; sinks and window do not apply.
        num_lanes: B.

    Raises:
        ModelError: The model does not go on from its states over several tokens.
    """

    kind = "recurrent"
    one_document_per_row = True

    def __init__(self, model: nn.Module, config: CarryConfig, num_lanes: int) -> None:
        super().__init__(config, num_lanes)
        self._states = LaneStates(
            num_lanes, config.tensor_dtype, next(model.parameters()).device, _RWKV_FRESH
        )
        if not _goes_on(decoder_of(model)):
            raise ModelError(
                f"{type(causal_lm_of(model)).__name__} does not go on from its states over several tokens at "
                f"once; {USE_NONE}"
            )

    def forward(self, model: nn.Module, rows: Rows) -> CarryResult:
        """See ``Carry``."""
        decoder = decoder_of(model)
        starts = self._states.read(rows.lanes_R, rows.document_RL[:, 0])
        length_R = (rows.document_RL >= 0).sum(1)
        num_tokens = rows.ids_RL.shape[1]
        order, parts, ends = [], [], []
        for length in sorted(set(length_R.tolist())):
            group = (length_R == length).nonzero().flatten()
            own = (
                None
                if starts is None
                else {name: state.index_select(0, group) for name, state in starts.items()}
            )
            states_BLH, end = _run(decoder, rows.ids_RL.index_select(0, group)[:, :length], own)
            order.append(group)
            parts.append(nn.functional.pad(states_BLH, (0, 0, 0, num_tokens - length)))
            ends.append(end)
        back = torch.cat(order).argsort()
        carried = {name: torch.cat([end[name] for end in ends]).index_select(0, back) for name in ends[0]}
        return CarryResult(torch.cat(parts).index_select(0, back), carried)

    def advance(self, rows: Rows, result: CarryResult, detach: bool = True) -> None:
        """See ``Carry``."""
        self._states.write(rows.lanes_R, rows.document_RL[:, 0], result.carried, detach)

    def detach(self) -> None:
        """See ``Carry``."""
        self._states.detach()

    def reset(self, lanes: Sequence[int]) -> None:
        """See ``Carry``."""
        self._states.reset(lanes)

    @property
    def num_bytes(self) -> int:
        """See ``Carry``."""
        return self._states.num_bytes

    def state(self) -> State:
        """See ``Carry``."""
        saved = self._states.state()
        return State(saved.tensors, {**saved.data, **self._settings()})

    def restore(self, state: State) -> None:
        """See ``Carry``."""
        self._check_settings(state)
        self._states.restore(state)


def _goes_on(decoder: Any) -> bool:
    """Whether two chunks with the states between them give what the whole gives."""
    device = next(decoder.parameters()).device
    vocabulary: int = decoder.config.vocab_size
    ids = (torch.arange(1, 9, device=device) * 7919 % vocabulary)[None]
    with evaluating(decoder):
        whole, _ = _run(decoder, ids, None)
        _, states = _run(decoder, ids[:, :4], None)
        rest, _ = _run(decoder, ids[:, 4:], states)
    error = (whole[:, 4:].float() - rest.float()).abs().max()
    # Below rounding in bfloat16, and far below what a lost state does.
    return bool(error <= 0.05 * whole.float().abs().max())


def _run(decoder: Any, ids_BL: Tensor, states: Mapping[str, Tensor] | None) -> tuple[Tensor, _States]:
    """Last hidden states of rows of one length, and the states that they leave."""
    if takes(decoder, "state"):
        return _run_rwkv(decoder, ids_BL, states)
    if ids_BL.shape[1] > 1 or states is None or is_mamba(decoder):
        return _run_layers(decoder, ids_BL, states)
    with torch.no_grad():
        # For a single token, mixers update their states in place, which autograd does not bear: copies.
        hidden_B1H, ends = _run_layers(
            decoder, ids_BL, {name: state.clone() for name, state in states.items()}
        )
    if torch.is_grad_enabled():
        # A second token makes them take the other way, and does not change what the first gives.
        hidden_B2H, _ = _run_layers(decoder, ids_BL.repeat(1, 2), states)
        hidden_B1H = hidden_B2H[:, :1]
    return hidden_B1H, ends


def _run_layers(decoder: Any, ids_BL: Tensor, states: Mapping[str, Tensor] | None) -> tuple[Tensor, _States]:
    helped = is_mamba(decoder)
    model_layers: list[Any] = DynamicCache(config=decoder.config).layers
    layers = [_StateLayer(layer.number_of_states) for layer in model_layers]
    starts: dict[int, Tensor] = {}
    for name, tensor in (states or {}).items():
        kind, number, index = name.split("/")
        layer = layers[int(number)]
        if kind == "conv":
            layer.conv_states[int(index)] = tensor
            layer.has_previous_state[int(index)] = True
        elif helped:
            starts[int(number)] = tensor
        else:
            layer.recurrent_states[int(index)] = tensor
            layer.has_previous_state[int(index)] = True
    argument = "cache_params" if takes(decoder, "cache_params") else "past_key_values"
    cache = _StateCache(decoder, layers, starts)
    with cache.begin() as added:
        output = decoder(input_ids=ids_BL, use_cache=True, **{argument: cache})
    ends: _States = {}
    for place, layer in enumerate(layers):
        for part, end in layer.conv_states.items():
            if end is not None:
                ends[f"conv/{place}/{part}"] = end
        for part, end in layer.recurrent_states.items():
            if end is not None:
                ends[f"recurrent/{place}/{part}"] = end + added[place] if place in added else end
    if not ends:
        raise ModelError(
            "the model dropped its cache: turn off transformers' gradient checkpointing, which cannot be "
            "combined with a cache"
        )
    return output.last_hidden_state, ends


def _run_rwkv(decoder: Any, ids_BL: Tensor, states: Mapping[str, Tensor] | None) -> tuple[Tensor, _States]:
    config = decoder.config
    dtype = next(decoder.parameters()).dtype
    shape = (len(ids_BL), config.hidden_size, config.num_hidden_layers)
    if states is None:
        states = {
            f"rwkv/{number}": torch.full(
                shape,
                _RWKV_FRESH.get(f"rwkv/{number}", 0.0),
                dtype=dtype if number < 2 else torch.float32,
                device=ids_BL.device,
            )
            for number in range(5)
        }
    if ids_BL.shape[1] == 1 and len(ids_BL) > 1:
        # For single tokens its blocks mix up the rows.
        runs = [
            _run_rwkv(
                decoder, ids_BL[row : row + 1], {name: state[row : row + 1] for name, state in states.items()}
            )
            for row in range(len(ids_BL))
        ]
        joined = {name: torch.cat([end[name] for _, end in runs]) for name in states}
        return torch.cat([hidden for hidden, _ in runs]), joined
    columns = [_RwkvColumns(states[f"rwkv/{number}"]) for number in range(5)]
    output = decoder(input_ids=ids_BL, state=columns, use_cache=True)
    return output.last_hidden_state, {
        f"rwkv/{number}": torch.stack(column.layers, -1) for number, column in enumerate(columns)
    }
