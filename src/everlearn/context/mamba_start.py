"""Lets transformers' Mamba, and what is made like it, go on from a state over several tokens at once.

Its mixer starts every scan from a zero state unless it is given a single token. The recurrence
h_t = exp(Δ_t A) h_{t-1} + Δ_t B_t x_t, y_t = C_t h_t (Gu and Dao, "Mamba", arXiv:2312.00752) is linear in
where it starts, so a start h_0 adds C_t exp(A ΣΔ) h_0 to y_t, and exp(A ΣΔ) h_0 to the last state. Hooks
on the mixer's projections see Δ, C and the gate, and add it before the last projection.

Legend: B rows, L tokens, I inner size, N state size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["is_mamba", "starting_from"]


def is_mamba(decoder: nn.Module) -> bool:
    """Whether the decoder's scans have to be helped to start from a state."""
    return any(_is_mixer(module) for module in decoder.modules())


def _is_mixer(module: nn.Module) -> bool:
    return all(hasattr(module, name) for name in ("in_proj", "x_proj", "dt_proj", "out_proj", "A_log"))


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor


class _Start:
    """What one mixer computes in one pass, and what its start adds."""

    def __init__(self, mixer: Any, start_BIN: Tensor) -> None:
        self._mixer = mixer
        self._start_BIN = start_BIN
        self._gate_BLI: Tensor | None = None
        self._time_BLK: Tensor | None = None
        self._c_BLN: Tensor | None = None
        self.last_BIN: Tensor | None = None

    def after_in_proj(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        self._gate_BLI = output.chunk(2, -1)[1]

    def after_x_proj(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        num_states = self._mixer.ssm_state_size
        time_BLK, _, c_BLN = torch.split(output, [self._mixer.time_step_rank, num_states, num_states], -1)
        # Falcon-Mamba has norms behind the projection.
        self._time_BLK = getattr(self._mixer, "dt_layernorm", _as_it_is)(time_BLK)
        self._c_BLN = getattr(self._mixer, "c_layernorm", _as_it_is)(c_BLN)

    def before_out_proj(self, module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        assert self._gate_BLI is not None
        assert self._time_BLK is not None
        assert self._c_BLN is not None
        projection = self._mixer.dt_proj
        time_BLI = nn.functional.linear(self._time_BLK, projection.weight).float() + projection.bias.float()
        elapsed_BLI = nn.functional.softplus(time_BLI).cumsum(1)
        decay_IN = -torch.exp(self._mixer.A_log.float())
        left_BLIN = torch.exp(elapsed_BLI[..., None] * decay_IN) * self._start_BIN[:, None].float()
        self.last_BIN = left_BLIN[:, -1]
        added_BLI = (left_BLIN @ self._c_BLN.float()[..., None])[..., 0]
        added_BLI = added_BLI * nn.functional.silu(self._gate_BLI.float())
        return (inputs[0] + added_BLI.to(inputs[0].dtype),)


@contextmanager
def starting_from(decoder: nn.Module, starts: Mapping[int, Tensor]) -> Iterator[dict[int, Tensor]]:
    """The decoder with its mixers starting from states.

    Args:
        decoder: A Mamba decoder.
        starts: State (B, I, N) by number of the layer.

    Yields:
        What to add to the last states, by number of the layer; filled by the pass.
    """
    added: dict[int, Tensor] = {}
    handles, found = [], []
    try:
        for module in decoder.modules():
            layer: Any = getattr(module, "layer_idx", None)
            if _is_mixer(module) and layer in starts:
                start = _Start(module, starts[layer])
                mixer: Any = module
                handles += [
                    mixer.in_proj.register_forward_hook(start.after_in_proj),
                    mixer.x_proj.register_forward_hook(start.after_x_proj),
                    mixer.out_proj.register_forward_pre_hook(start.before_out_proj),
                ]
                found.append((layer, start))
        yield added
        added.update({layer: start.last_BIN for layer, start in found if start.last_BIN is not None})
    finally:
        for handle in handles:
            handle.remove()
