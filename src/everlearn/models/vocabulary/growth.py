"""New tokens for a model: the tokenizer learns words, the model gets rows made of their pieces' rows.

V: old rows, N: new tokens, H: hidden size.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from everlearn.errors import ModelError
from everlearn.models.vocabulary.insertion import insert_words
from everlearn.models.vocabulary.tokenizer_file import rebuild_tokenizer

__all__ = ["Growth", "compose_rows", "grow"]


@dataclass(frozen=True, slots=True, eq=False)
class Growth:
    """What a growth changed.

    Attributes:
        tokenizer: The tokenizer with the words; the old one is unchanged.
        first_row: Id of the first new token.
        pieces: Old ids that each new token stands for, by new id, in order.
        words: Id by word. BPE reaches some words over intermediate tokens, which are in ``pieces`` only.
        left_out: Words that were not added, with the reason.
    """

    tokenizer: Any
    first_row: int
    pieces: Mapping[int, tuple[int, ...]]
    words: Mapping[str, int]
    left_out: Mapping[str, str]

    @property
    def num_rows(self) -> int:
        """N: tokens that are new, intermediate ones included."""
        return len(self.pieces)


def grow(model: Any, tokenizer: Any, words: Iterable[str]) -> Growth:
    """Add words to a tokenizer and their rows to a model, the model in place.

    The row of a new token is the mean of its pieces' rows, in the embedding and in the head. The rows of old
    tokens stay as they are to the bit, and so do the logits of old tokens.

    Args:
        model: A transformers model: causal, encoder or encoder-decoder; adapters on its layers go on.
        tokenizer: Its fast tokenizer (BPE, WordPiece or Unigram).
        words: As ``propose`` gives them, the most useful first.

    Raises:
        ModelError: The tokenizer or the embedding is of a kind that cannot grow.
    """
    insertion = insert_words(tokenizer, words)
    first_row = min(insertion.pieces, default=max(insertion.file.ids.values()) + 1)
    if insertion.pieces:
        _add_rows(model, first_row, insertion.pieces)
        tokenizer = rebuild_tokenizer(tokenizer, insertion.file.write())
    return Growth(tokenizer, first_row, insertion.pieces, insertion.words, insertion.left_out)


def compose_rows(weight_VH: Tensor, pieces: Iterable[tuple[int, ...]]) -> Tensor:
    """Mean of the pieces' rows for each new token (N, H), computed in float32."""
    rows = [weight_VH[list(ids)].to(torch.float32).mean(dim=0) for ids in pieces]
    return torch.stack(rows).to(weight_VH.dtype)


@torch.no_grad()
def _add_rows(model: Any, first_row: int, pieces: Mapping[int, tuple[int, ...]]) -> None:
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    if not isinstance(embedding, nn.Embedding) or not (head is None or isinstance(head, nn.Linear)):
        kinds = f"{type(embedding).__name__} and {type(head).__name__}"
        raise ModelError(f"a plain embedding and head can grow, not {kinds}")
    is_tied = head is not None and head.weight is embedding.weight
    # Models often have more rows than their tokenizer has tokens; new tokens take these first.
    num_rows = max(embedding.num_embeddings, first_row + len(pieces))
    model.resize_token_embeddings(num_rows, mean_resizing=False)
    last = first_row + len(pieces)
    matrices = [model.get_input_embeddings().weight]
    if head is not None and not is_tied:
        matrices.append(model.get_output_embeddings().weight)
    for weight in matrices:
        weight[first_row:last] = compose_rows(weight, pieces.values())
    bias = getattr(model.get_output_embeddings(), "bias", None)
    if bias is not None:
        bias[first_row:last] = compose_rows(bias[:, None], pieces.values())[:, 0]
