"""Token ids that a tokenizer may give and a model has no row for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from everlearn.models.added_rows import SplitEmbedding

__all__ = ["may_exceed", "num_rows", "token_problem"]

_largest_ids: WeakKeyDictionary[Any, int] = WeakKeyDictionary()


def may_exceed(tokenizer: Any, model: Any) -> bool:
    """Whether the tokenizer knows a token that the model's embedding has no row for."""
    largest = _largest_ids.get(tokenizer)
    if largest is None:
        largest = max(tokenizer.get_vocab().values(), default=-1)
        _largest_ids[tokenizer] = largest
    return largest >= num_rows(model)


def token_problem(tokenizer: Any, model: Any, ids: Iterable[int]) -> str | None:
    """Why a model cannot read a text; None: it can.

    Args:
        tokenizer: The tokenizer.
        model: The model, or an adapted one.
        ids: The text's tokens.
    """
    found, count = np.fromiter(ids, np.int64), num_rows(model)
    beyond = found[found >= count]
    if not len(beyond):
        return None
    token = tokenizer.convert_ids_to_tokens(int(beyond[0]))
    return (
        f"token {int(beyond[0])} ({token!r}) is beyond the {count:,} rows of the model's embedding: the "
        "tokenizer knows more tokens than the model"
    )


def num_rows(model: Any) -> int:
    """Rows of a model's input embedding."""
    embedding = model.get_input_embeddings()
    if isinstance(embedding, SplitEmbedding):
        return len(embedding.old.weight) + len(embedding.new.weight)
    return len(embedding.weight)
