"""Texts as token ids, and random variants of them to tune on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from everlearn.learning.consolidation.config import ConsolidationConfig

__all__ = ["TokenizedTexts", "batches_of_like_length"]

_CHARACTERS_PER_TOKEN = 64  # a huge text is cut before it is tokenized
_CHUNK_BATCHES = 16  # texts are sorted by length within so many batches: little padding, still random
_TOKENIZED_AT_ONCE = 1_024


class TokenizedTexts:
    """Token ids of texts: their beginnings, and variants.

    Args:
        tokenizer: The trunk's.
        texts: The texts.
        width: Tokens of a window, special tokens included.
        config: Settings.

    Attributes:
        beginnings: The first window of each text.
    """

    def __init__(self, tokenizer: Any, texts: Sequence[str], width: int, config: ConsolidationConfig) -> None:
        self._width = width
        self._dropout = config.token_dropout
        limit = max(width, config.crop_from)
        pad = tokenizer.pad_token_id or 0
        self._long: list[list[int]] = []
        for start in range(0, len(texts), _TOKENIZED_AT_ONCE):
            cut = [
                text[: _CHARACTERS_PER_TOKEN * limit].encode("utf-8", "replace").decode()
                for text in texts[start : start + _TOKENIZED_AT_ONCE]
            ]
            encoded = tokenizer(cut, truncation=True, max_length=limit)["input_ids"]
            self._long += [ids or [pad] for ids in encoded]
        self.beginnings = [self._window(ids, 0) for ids in self._long]

    def variants(self, generator: np.random.Generator) -> list[list[int]]:
        """A variant of each text: a window of it, less some tokens. First and last token always stay."""
        variants = []
        for long, beginning in zip(self._long, self.beginnings, strict=True):
            variant = beginning
            if len(long) > self._width and generator.random() < 0.5:
                variant = self._window(long, int(generator.integers(len(long) - self._width + 1)))
            if self._dropout > 0:
                is_kept = generator.random(len(variant)) >= self._dropout
                is_kept[[0, -1]] = True
                variant = [token for token, kept in zip(variant, is_kept.tolist(), strict=True) if kept]
            variants.append(variant)
        return variants

    def _window(self, ids: list[int], start: int) -> list[int]:
        # The special tokens at both ends belong to every window.
        if len(ids) <= self._width:
            return ids
        return [ids[0], *ids[1 + start : start + self._width - 1], ids[-1]]


def batches_of_like_length(
    members: Sequence[int], lengths: Sequence[int], batch_size: int, generator: np.random.Generator
) -> Iterator[list[int]]:
    """Every member once, in random batches of like length."""
    order = generator.permutation(np.asarray(members)).tolist()
    size = batch_size * _CHUNK_BATCHES
    for start in range(0, len(order), size):
        chunk = sorted(order[start : start + size], key=lengths.__getitem__)
        cut = [chunk[k : k + batch_size] for k in range(0, len(chunk), batch_size)]
        for k in generator.permutation(len(cut)).tolist():
            yield cut[k]


def num_batches(num_members: int, batch_size: int) -> int:
    """How many batches ``batches_of_like_length`` makes."""
    whole, rest = divmod(num_members, batch_size * _CHUNK_BATCHES)
    return whole * _CHUNK_BATCHES + -(-rest // batch_size)
