"""Sources and targets of an encoder-decoder as tokens: special tokens that a text spells out are text.

A tokenizer adds tokens of its own before and behind a text (an end, a language). They are found by asking it
once, and everything between them is tokenized as nothing but text.
"""

from __future__ import annotations

from typing import Any

from everlearn.errors import ModelError
from everlearn.models.language.token_bytes import encode_plain

__all__ = ["PairTokenizer"]

_PROBE = "a"


class PairTokenizer:
    """Tokenizes the texts of pairs.

    Args:
        tokenizer: Of transformers; its languages are set.

    Attributes:
        source_frame: Tokens before and behind a source.
        target_frame: Tokens before and behind a target.

    Raises:
        ModelError: The tokenizer adds tokens in the middle of a text.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.source_frame = _frame(tokenizer, "text")
        self.target_frame = _frame(tokenizer, "text_target")

    def source(self, text: str, max_length: int | None) -> list[int]:
        """Tokens of a source, cut so that those around it stay.

        Args:
            text: The text.
            max_length: Tokens at most; None: any number.
        """
        before, behind = self.source_frame
        ids = encode_plain(self._tokenizer, text).ids.tolist()
        if max_length is not None:
            ids = ids[: max(0, max_length - len(before) - len(behind))]
        return [*before, *ids, *behind]

    def target(self, text: str, end_id: int) -> list[int]:
        """Tokens of a target, up to and with the token that ends it."""
        before, behind = self.target_frame
        if end_id in behind:
            behind = behind[: behind.index(end_id)]
        return [*before, *encode_plain(self._tokenizer, text, is_target=True).ids.tolist(), *behind, end_id]


def _frame(tokenizer: Any, side: str) -> tuple[list[int], list[int]]:
    settings = {"truncation": False, "verbose": False}
    framed = tokenizer(**{side: _PROBE}, **settings)["input_ids"]
    plain = tokenizer(**{side: _PROBE}, **settings, add_special_tokens=False)["input_ids"]
    for start in range(len(framed) - len(plain) + 1):
        if framed[start : start + len(plain)] == plain:
            return framed[:start], framed[start + len(plain) :]
    raise ModelError("the model's tokenizer adds tokens in the middle of a text")
