"""Which token sees which: the 4-D masks of attention with carried slots.

Legend: R rows, L tokens of a row, P carried slots, S = P + L.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from everlearn.errors import ModelError
from everlearn.models.grouped_attention import GROUPED_ATTENTION

__all__ = ["MASK_FORMS", "Mask", "MaskForm", "model_mask", "visible"]

MaskForm = Literal["bool", "additive"]
Mask = Tensor | dict[str, Tensor] | None

MASK_FORMS: dict[str, MaskForm] = {"sdpa": "bool", "eager": "additive", GROUPED_ATTENTION: "additive"}
"""What an attention implementation of transformers, by its registered name, takes: True where attended, or
0 where attended and the lowest number elsewhere. One that is not listed gets a bool mask."""

_LAYER_TYPES = {"full_attention", "sliding_attention"}


def visible(document_RL: Tensor, past_document_RP: Tensor | None) -> Tensor:
    """Whether a token sees a slot or token: of its own document and not after it.

    Args:
        document_RL: Documents of the tokens, -1 for padding.
        past_document_RP: Documents of the slots, -1 for empty ones; None: no slots.

    Returns:
        bool (R, L, S). Padding sees itself, as a softmax over nothing is not a number.
    """
    num_tokens = document_RL.shape[1]
    is_real_RL1 = (document_RL >= 0)[:, :, None]
    causal_LL = torch.ones(num_tokens, num_tokens, dtype=torch.bool, device=document_RL.device).tril()
    seen_RLL = (document_RL[:, :, None] == document_RL[:, None]) & causal_LL & is_real_RL1
    seen_RLL = seen_RLL | torch.eye(num_tokens, dtype=torch.bool, device=document_RL.device)
    if past_document_RP is None:
        return seen_RLL
    past_RLP = (document_RL[:, :, None] == past_document_RP[:, None]) & is_real_RL1
    return torch.cat((past_RLP, seen_RLL), -1)


def model_mask(
    config: Any, seen_RLS: Tensor, position_RL: Tensor, position_RS: Tensor, dtype: torch.dtype
) -> Mask:
    """The mask in the form that the model takes.

    Args:
        config: Of the model: says the attention implementation and which layers see a sliding window.
        seen_RLS: bool: whether a token sees a slot or token.
        position_RL: Positions handed to the model.
        position_RS: The same of slots and tokens.
        dtype: Of an additive mask.

    Returns:
        (R, 1, L, S), or one by kind of layer where the model has several.

    Raises:
        ModelError: The model attends in another way.
    """
    implementation = config._attn_implementation
    if "flash" in implementation or "flex" in implementation or "paged" in implementation:
        raise ModelError(
            f"carried context needs an attention that takes 4-D masks, not {implementation!r}; "
            "load the model with attn_implementation='sdpa'"
        )
    form = MASK_FORMS.get(implementation, "bool")
    kinds = set(getattr(config, "layer_types", None) or ())
    window: int | None = getattr(config, "sliding_window", None)
    if kinds - _LAYER_TYPES:
        raise ModelError(
            f"carried context does not know attention layers of kind {sorted(kinds - _LAYER_TYPES)}; "
            "set carry to 'none' (--carry none)"
        )
    if window is None or (kinds and "sliding_attention" not in kinds):
        return _formed(seen_RLS, form, dtype)
    distance_RLS = position_RL[:, :, None] - position_RS[:, None]
    sliding = _formed(seen_RLS & (distance_RLS < window), form, dtype)
    if len(kinds) < 2:
        return sliding
    return {"full_attention": _formed(seen_RLS, form, dtype), "sliding_attention": sliding}


def _formed(seen_RLS: Tensor, form: MaskForm, dtype: torch.dtype) -> Tensor:
    seen_R1LS = seen_RLS[:, None]
    if form == "bool":
        return seen_R1LS
    hidden = torch.zeros((), dtype=dtype, device=seen_RLS.device)
    return hidden.masked_fill(~seen_R1LS, torch.finfo(dtype).min)
