"""Attention for training on processors: queries grouped by the key-value head that they share.

B: rows, H: query heads, N: key-value heads, G = H / N, L: queries, K: keys, D: size of a key, E: of a value.

torch's fused kernel for processors takes several times as long in the backward pass as plain matrix products
at the lengths that are common here, and transformers' plain products repeat keys and values for every query
head and keep scores in float32. Here the queries of a group are rows of one product, and softmax keeps its
output in the precision of the scores, computing in float32 inside. The result is that of "eager", to
rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["GROUPED_ATTENTION", "grouped_attention", "use_grouped_attention"]

GROUPED_ATTENTION = "everlearn_grouped"
"""Its name in ``config._attn_implementation``."""

_COLUMNS = "_everlearn_columns"
# Where more of the keys are used, one product for all rows is quicker than one a row.
_WORTH_SPLITTING = 0.8


def grouped_attention(
    queries_BHLD: Tensor,
    keys_BNKD: Tensor,
    values_BNKE: Tensor,
    mask_B1LK: Tensor | None,
    scaling: float,
) -> Tensor:
    """softmax(q kᵀ · scaling + mask) v, with H a multiple of N.

    Args:
        queries_BHLD: Queries.
        keys_BNKD: Keys.
        values_BNKE: Values.
        mask_B1LK: True (or 0) where a query may attend, False (or a large negative number) where not;
            None: causal, the last query being that of the last key.
        scaling: Of the scores.

    Returns:
        (B, L, H, E).
    """
    B, L = queries_BHLD.shape[0], queries_BHLD.shape[2]
    K = keys_BNKD.shape[2]
    if mask_B1LK is None and L > 1:
        mask_B1LK = torch.ones(L, K, dtype=torch.bool, device=queries_BHLD.device).tril(K - L)[None, None]
    columns = None if mask_B1LK is None else _columns_by_row(mask_B1LK)
    if columns is None or mask_B1LK is None or len(columns) != B:
        return _attend(queries_BHLD, keys_BNKD, values_BNKE, mask_B1LK, scaling)
    rows = [
        _attend(
            queries_BHLD[row : row + 1],
            keys_BNKD[row : row + 1].index_select(2, used),
            values_BNKE[row : row + 1].index_select(2, used),
            mask_B1LK[row : row + 1].index_select(3, used),
            scaling,
        )
        for row, used in enumerate(columns)
    ]
    return torch.cat(rows)


def _attend(
    queries_BHLD: Tensor, keys_BNKD: Tensor, values_BNKE: Tensor, mask_B1LK: Tensor | None, scaling: float
) -> Tensor:
    B, H, L, D = queries_BHLD.shape
    N, K = keys_BNKD.shape[1:3]
    dtype = queries_BHLD.dtype
    queries = (queries_BHLD * scaling).reshape(B * N, (H // N) * L, D)
    scores = torch.bmm(queries, keys_BNKD.reshape(B * N, K, D).to(dtype).transpose(1, 2))
    if mask_B1LK is not None:
        if mask_B1LK.dtype == torch.bool:
            lowest = torch.finfo(dtype).min
            mask_B1LK = torch.zeros(mask_B1LK.shape, dtype=dtype, device=scores.device).masked_fill(
                ~mask_B1LK, lowest
            )
        scores = scores.view(B, N, H // N, L, K) + mask_B1LK.to(dtype)[:, :, None]
    shares = torch.softmax(scores, dim=-1).view(B * N, -1, K)
    mixed = torch.bmm(shares, values_BNKE.reshape(B * N, K, -1).to(dtype))
    return mixed.view(B, H, L, -1).transpose(1, 2).contiguous()


def _columns_by_row(mask_B1LK: Tensor) -> list[Tensor] | None:
    """Keys that a row attends to at all, where leaving out the others pays; kept with the mask.

    A cache is as long as that of the fullest row, and all layers get the same mask.
    """
    known: tuple[list[Tensor] | None] | None = getattr(mask_B1LK, _COLUMNS, None)
    if known is not None:
        return known[0]
    columns = None
    if mask_B1LK.shape[0] > 1:
        is_seen = (
            mask_B1LK if mask_B1LK.dtype == torch.bool else mask_B1LK > torch.finfo(torch.bfloat16).min / 2
        )
        is_used_BK = is_seen[:, 0].any(1)
        if float(is_used_BK.float().mean()) < _WORTH_SPLITTING:
            columns = [used_K.nonzero().squeeze(1) for used_K in is_used_BK]
    setattr(mask_B1LK, _COLUMNS, (columns,))
    return columns


def use_grouped_attention(model: nn.Module) -> bool:
    """Let a model of transformers attend in this way, in place, if it runs on a processor and can.

    Models with dropout, windows or caps within their attention keep their own. Returns whether it was set.
    """
    from transformers import AttentionInterface, PreTrainedModel
    from transformers.masking_utils import AttentionMaskInterface, eager_mask

    if not isinstance(model, PreTrainedModel) or next(model.parameters()).device.type != "cpu":
        return False
    config: Any = model.config.get_text_config()
    has_own_way = (
        getattr(config, "attention_dropout", 0.0)
        or getattr(config, "sliding_window", None)
        or getattr(config, "attn_logit_softcapping", None)
        or getattr(config, "num_key_value_heads", None) is None
    )
    if has_own_way or not getattr(model, "_supports_attention_backend", False):
        return False
    AttentionInterface.register(GROUPED_ATTENTION, _attention_forward)
    AttentionMaskInterface.register(GROUPED_ATTENTION, eager_mask)
    model.set_attn_implementation(GROUPED_ATTENTION)
    return str(model.config._attn_implementation) == GROUPED_ATTENTION


def _attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    return grouped_attention(query, key, value, attention_mask, scale), None
