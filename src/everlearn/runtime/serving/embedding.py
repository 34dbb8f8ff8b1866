"""Vectors of texts by the encoder that tenants share, made by a service's prediction processes."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import torch

from everlearn.models.encoder.coder import TextCoder
from everlearn.types import Json

__all__ = ["encoder_told", "num_tokens", "vectors_told"]

_CHARACTERS_PER_TOKEN = 64
"""Of a text, as many are looked at: a huge one costs little."""


def vectors_told(coder: TextCoder, texts: Sequence[str], *, normalize: bool) -> dict[str, Json]:
    """Pooled hidden states of the highest layer that codes are made of (the last, by default), as a message.

    Args:
        coder: Reads the texts: its length and windows hold.
        texts: The texts.
        normalize: Whether vectors have length 1.

    Returns:
        ``vectors``: for each text, float32 numbers in little-endian order, as base64. ``tokens``: for each
        text, how many tokens were read.

    Raises:
        ModelError: The model gave something that is not a finite number.
    """
    layers = coder.config_json()["layers"]
    vectors_ND = coder.pool(texts)[:, layers.index(max(layers))]
    if normalize:
        vectors_ND = torch.nn.functional.normalize(vectors_ND, dim=-1)
    rows = vectors_ND.to(torch.float32).numpy().astype("<f4")
    return {
        "vectors": [base64.b64encode(row.tobytes()).decode() for row in rows],
        "tokens": num_tokens(coder, texts),
    }


def num_tokens(coder: TextCoder, texts: Sequence[str]) -> list[int]:
    """Tokens of each text that are read; special ones do not count."""
    known = coder.config_json()
    limit = known["max_length"] * known["windows"]
    longest = _CHARACTERS_PER_TOKEN * limit
    encoding = coder.trunk.tokenizer(
        [text[:longest].encode("utf-8", "replace").decode() for text in texts],
        truncation=True,
        max_length=limit,
        add_special_tokens=False,
        return_attention_mask=False,
        return_token_type_ids=False,
    )
    return [len(ids) for ids in encoding["input_ids"]]


def encoder_told(coder: TextCoder) -> dict[str, Json]:
    """What an encoder is, as a message."""
    known = coder.config_json()
    return {
        "model": coder.trunk.name,
        "sha256": coder.trunk.sha256,
        "dtype": known["dtype"],
        "pooling": known["pooling"],
        "max_length": known["max_length"] * known["windows"],
        "size": coder.trunk.hidden_size,
    }
