"""One pass through a decoder, with keys and values that are carried.

Legend: R rows, L tokens of a row, P carried slots, H hidden size.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache, CacheLayerMixin

from everlearn.context.carry import Rows
from everlearn.context.decoder import decoder_of, takes
from everlearn.context.masks import model_mask, visible

__all__ = ["CarriedLayer", "document_starts", "run_decoder"]


class CarriedLayer(CacheLayerMixin):  # type: ignore[no-untyped-call]
    """Keys and values of one layer: those carried, and those of the pass that is under way.

    ``update`` may run again, as gradient checkpointing does: it adds nothing to what it was made with.
    """

    is_sliding = False

    def __init__(self, past_keys: Tensor | None, past_values: Tensor | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._past = None if past_keys is None or past_values is None else (past_keys, past_values)
        self.num_past = 0 if past_keys is None else past_keys.shape[2]
        self.new_keys: Tensor | None = None
        self.new_values: Tensor | None = None

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing to prepare."""

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """All keys and values that the layer attends to."""
        self.new_keys, self.new_values = key_states, value_states
        if self._past is None:
            return key_states, value_states
        keys, values = self._past
        return (
            torch.cat((keys.to(key_states.dtype), key_states), 2),
            torch.cat((values.to(value_states.dtype), value_states), 2),
        )

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Keys attended to, and where they begin."""
        return self.num_past + query_length, 0

    def get_seq_length(self) -> int:
        """Carried slots."""
        return self.num_past

    def get_max_length(self) -> int:
        """No bound."""
        return -1


def document_starts(document_RL: Tensor) -> Tensor:
    """For each token the column in which its document begins in the row (R, L); padding counts along."""
    starts_RL = torch.ones_like(document_RL, dtype=torch.bool)
    starts_RL[:, 1:] = document_RL[:, 1:] != document_RL[:, :-1]
    starts_RL &= document_RL >= 0
    column_L = torch.arange(document_RL.shape[1], device=document_RL.device)
    return torch.where(starts_RL, column_L, 0).cummax(1).values


def run_decoder(
    model: nn.Module,
    rows: Rows,
    position_RL: Tensor,
    cache: Cache | None,
    past_document_RP: Tensor | None,
    past_position_RP: Tensor | None,
) -> Tensor:
    """Last hidden states (R, L, H) of rows that may hold several documents.

    Args:
        model: The causal LM.
        rows: The tokens.
        position_RL: What the model is told of their positions.
        cache: What it attends to besides; takes the new keys and values. None: no cache.
        past_document_RP: Documents of the cache's slots; None: it has no slots.
        past_position_RP: Their positions as the model was told.
    """
    decoder = decoder_of(model)
    mask = None
    # Padding only follows tokens, so rows of one document are what a causal mask is for.
    is_plain = past_document_RP is None and bool(
        ((rows.document_RL == rows.document_RL[:, :1]) | (rows.document_RL < 0)).all()
    )
    if not is_plain:
        told = position_RL if past_position_RP is None else torch.cat((past_position_RP, position_RL), 1)
        mask = model_mask(
            decoder.config,
            visible(rows.document_RL, past_document_RP),
            position_RL,
            told,
            next(decoder.parameters()).dtype,
        )
    named: dict[str, Any] = {"position_ids": position_RL} if takes(decoder, "position_ids") else {}
    output = decoder(
        input_ids=rows.ids_RL,
        attention_mask=mask,
        past_key_values=cache,
        use_cache=cache is not None,
        **named,
    )
    return output.last_hidden_state  # type: ignore[no-any-return]
