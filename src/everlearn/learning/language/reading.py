"""From examples of a stream to tokens of documents."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from everlearn.context import TokenRun
from everlearn.errors import InputError
from everlearn.models.tokens import tokenize_chat, tokenize_document
from everlearn.types import Example

__all__ = ["document_of", "read_example", "tokenizer_sha256"]


def read_example(tokenizer: Any, example: Example) -> TokenRun:
    """The tokens of an example.

    A text is a document, unless its fields ``document``, ``part`` and ``last`` say that it is a piece of
    one. With a field ``messages`` it is a chat, of which the answers are learned.

    Raises:
        InputError: It has no text, or its messages cannot be rendered; names the example.
    """
    messages = example.fields.get("messages")
    if messages is not None:
        try:
            ids, is_target, num_bytes = tokenize_chat(tokenizer, messages)
        except InputError as error:
            raise InputError(f"example {example.id!r}: {error}") from error
        return TokenRun(
            example_id=example.id,
            document=example.id,
            ids=ids,
            is_target=is_target,
            num_bytes=num_bytes,
            domain=example.domain,
        )
    if example.text is None:
        raise InputError(f"example {example.id!r} has no text; this learner reads texts")
    document, starts, ends = document_of(example)
    ids, is_target, num_bytes = tokenize_document(tokenizer, example.text, starts=starts, ends=ends)
    return TokenRun(
        example_id=example.id,
        document=document,
        ids=ids,
        is_target=is_target,
        num_bytes=num_bytes,
        domain=example.domain,
        starts_document=starts,
        ends_document=ends,
    )


def document_of(example: Example) -> tuple[str, bool, bool]:
    """Name of the document that an example belongs to, and whether it starts and ends it."""
    fields: Mapping[str, Any] = example.fields
    if "document" not in fields or "part" not in fields:
        return example.id, True, True
    return str(fields["document"]), int(fields["part"]) == 0, bool(fields.get("last", False))


def tokenizer_sha256(tokenizer: Any) -> str:
    """SHA-256 (hex) of what a tokenizer makes tokens by."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    text = backend.to_str() if backend is not None else json.dumps(tokenizer.get_vocab(), sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
