"""Vectors of texts by the encoder that tenants share, made by a service's prediction processes."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import torch

from everlearn.models.encoder.coder import TextCoder
from everlearn.types import Json

__all__ = ["encoder_told", "num_tokens", "tokens_told", "vectors_told"]

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
    limit = _limit(coder)
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


def tokens_told(coder: TextCoder, texts: Sequence[str], *, special: bool) -> dict[str, Json]:
    """The tokens of texts as the encoder's tokenizer makes them, as a message.

    Args:
        coder: Its tokenizer, and how much of a text it reads.
        texts: The texts.
        special: Whether special tokens are told, too; they do not count for how much is read.

    Returns:
        ``tokens``: for each text a list of objects with ``id``, ``text``, ``special``, ``start`` and ``stop``
        (characters of the text; None: it stands for none of them).
    """
    tokenizer, limit = coder.trunk.tokenizer, _limit(coder)
    longest = _CHARACTERS_PER_TOKEN * limit
    told: list[Json] = []
    for text in (text[:longest] for text in texts):
        encoding = tokenizer(
            text,
            truncation=True,
            max_length=limit + (tokenizer.num_special_tokens_to_add() if special else 0),
            add_special_tokens=special,
            return_special_tokens_mask=True,
            return_offsets_mapping=tokenizer.is_fast,
            return_attention_mask=False,
            return_token_type_ids=False,
        )
        ids = encoding["input_ids"]
        names = tokenizer.convert_ids_to_tokens(ids)
        places = encoding["offset_mapping"] if tokenizer.is_fast else [(0, 0)] * len(ids)
        marks = encoding["special_tokens_mask"]
        told.append(
            [
                {
                    "id": id_,
                    "text": text[start:stop] if stop > start else name,
                    "special": bool(mark),
                    "start": start if stop > start else None,
                    "stop": stop if stop > start else None,
                }
                for id_, name, (start, stop), mark in zip(ids, names, places, marks, strict=True)
            ]
        )
    return {"tokens": told}


def encoder_told(coder: TextCoder) -> dict[str, Json]:
    """What an encoder is, as a message."""
    known = coder.config_json()
    return {
        "model": coder.trunk.name,
        "sha256": coder.trunk.sha256,
        "dtype": known["dtype"],
        "pooling": known["pooling"],
        "max_length": _limit(coder),
        "size": coder.trunk.hidden_size,
    }


def _limit(coder: TextCoder) -> int:
    """Tokens of a text that are read."""
    known = coder.config_json()
    return int(known["max_length"] * known["windows"])
