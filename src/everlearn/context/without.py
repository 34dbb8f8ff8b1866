"""Carries nothing: every chunk stands alone, for any model and for comparison."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from everlearn.context.carry import Carry, CarryConfig, CarryResult, Rows
from everlearn.context.decoder import CacheKind, cache_kind, causal_lm_of, decoder_of, takes
from everlearn.context.decoding import document_starts, run_decoder
from everlearn.context.probing import parts_documents
from everlearn.types import State

__all__ = ["NoCarry"]


class NoCarry(Carry):
    """No context between chunks.

    Args:
        model: The causal LM. Rows of several documents need attention that takes a mask; for all other
            models a row holds one.
        config: The settings.
        num_lanes: B.
    """

    kind = "none"

    def __init__(self, model: nn.Module, config: CarryConfig, num_lanes: int) -> None:
        super().__init__(config, num_lanes)
        self._cache_kind: CacheKind = cache_kind(model)
        self.one_document_per_row = not (
            self._cache_kind == "attention"
            and takes(decoder_of(model), "position_ids")
            and parts_documents(model)
        )

    def forward(self, model: nn.Module, rows: Rows) -> CarryResult:
        """See ``Carry``."""
        if self._cache_kind == "rnn":
            states_RLH, _ = causal_lm_of(model).states(rows.ids_RL, None)
            return CarryResult(states_RLH, None)
        if self.one_document_per_row:
            decoder = decoder_of(model)
            uncached = {"use_cache": False} if takes(decoder, "use_cache") else {}
            output = decoder(input_ids=rows.ids_RL, **uncached)
            return CarryResult(output.last_hidden_state, None)
        column_L = torch.arange(rows.document_RL.shape[1], device=rows.document_RL.device)
        position_RL = column_L - document_starts(rows.document_RL)
        return CarryResult(run_decoder(model, rows, position_RL, None, None, None), None)

    def advance(self, rows: Rows, result: CarryResult, detach: bool = True) -> None:
        """See ``Carry``."""

    def detach(self) -> None:
        """See ``Carry``."""

    def reset(self, lanes: Sequence[int]) -> None:
        """See ``Carry``."""

    @property
    def num_bytes(self) -> int:
        """See ``Carry``."""
        return 0

    def state(self) -> State:
        """See ``Carry``."""
        return State({}, self._settings())

    def restore(self, state: State) -> None:
        """See ``Carry``."""
        self._check_settings(state)
