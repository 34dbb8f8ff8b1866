"""A pair of source and target as one array of token ids, which is what steps and memories keep of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from everlearn.errors import InputError
from everlearn.memory import InputArray, ModelExample
from everlearn.models.language.languages import check_target_language
from everlearn.models.language.pair_tokens import PairTokenizer
from everlearn.types import Example

__all__ = ["PairReader", "pack_pair", "unpack_pair"]

IdArray = npt.NDArray[np.integer[Any]]

# Token ids are not negative.
_SEPARATOR = -1


def pack_pair(source_ids: Sequence[int] | IdArray, target_ids: Sequence[int] | IdArray) -> IdArray:
    """Source ids, a separator, target ids: int32 (S + 1 + T,).

    >>> pack_pair([5, 6, 1], [8, 1]).tolist()
    [5, 6, 1, -1, 8, 1]
    """
    return np.asarray([*source_ids, _SEPARATOR, *target_ids], dtype=np.int32)


def unpack_pair(array: InputArray) -> tuple[IdArray, IdArray]:
    """Source ids (S,) and target ids (T,); views of the array.

    Raises:
        InputError: The array is not what ``pack_pair`` gives.
    """
    places = np.flatnonzero(array == _SEPARATOR)
    if len(places) != 1 or places[0] == 0 or places[0] == len(array) - 1:
        raise InputError(f"an input of {len(array)} numbers is no pair of source and target")
    ids: IdArray = array.astype(np.int32, copy=False)
    return ids[: places[0]], ids[places[0] + 1 :]


class PairReader:
    """Tokenizes sources and targets; what looks like a special token in a text is text.

    A source is cut so that its special tokens stay; a target that is too long is cut at its end and then
    lacks the end token, so that the model does not learn to stop there.

    Args:
        tokenizer: Of transformers.
        end_id: The token that ends a target, which is added where the tokenizer does not.
        max_source_length: Tokens of a source, special tokens included.
        max_target_length: Tokens of a target, end token included.

    Raises:
        ConfigError: The tokenizer is multilingual, and nobody has said of which language targets are.
    """

    def __init__(self, tokenizer: Any, end_id: int, max_source_length: int, max_target_length: int) -> None:
        check_target_language(tokenizer)
        self.tokenizer = tokenizer
        self._pair_tokenizer = PairTokenizer(tokenizer)
        self.end_id = end_id
        self.max_source_length = max_source_length
        self.max_target_length = max_target_length

    def sources(self, examples: Sequence[Example]) -> list[IdArray]:
        """Token ids int32 (S,) of the sources; an empty source is the end token alone.

        Raises:
            InputError: An example has no text.
        """
        sequences: list[IdArray] = []
        for example in examples:
            if example.text is None:
                raise InputError(f"example {example.id!r} has no text; this learner translates texts")
            ids = self._pair_tokenizer.source(example.text, self.max_source_length)
            sequences.append(np.asarray(ids or [self.end_id], dtype=np.int32))
        return sequences

    def targets(self, texts: Sequence[str]) -> list[IdArray]:
        """Token ids int32 (T,) of target texts, end token included unless cut."""
        sequences = [self._pair_tokenizer.target(text, self.end_id) for text in texts]
        return [np.asarray(ids[: self.max_target_length], dtype=np.int32) for ids in sequences]

    def pairs(self, examples: Sequence[Example], targets: Sequence[str]) -> list[ModelExample]:
        """Examples as steps and memories keep them.

        Raises:
            InputError: An example has no text.
        """
        sources = self.sources(examples)
        return [
            ModelExample(example.id, target, pack_pair(source_ids, target_ids), example.domain)
            for example, target, source_ids, target_ids in zip(
                examples, targets, sources, self.targets(targets), strict=True
            )
        ]

    def num_bytes(self, example: ModelExample) -> int:
        """UTF-8 bytes of the part of the target that is learned."""
        _, target_ids = unpack_pair(example.input)
        if len(target_ids) < self.max_target_length or target_ids[-1] == self.end_id:
            text = example.target
        else:
            text = self.texts([target_ids])[0]
        return len(text.encode("utf-8", "surrogatepass"))

    def texts(self, sequences: Sequence[Sequence[int] | IdArray]) -> list[str]:
        """Token ids as texts, without special tokens."""
        decoded: list[str] = self.tokenizer.batch_decode(
            [list(map(int, ids)) for ids in sequences],
            skip_special_tokens=True,
            clean_up_tokenization_spaces=False,
        )
        return [text.strip() for text in decoded]
