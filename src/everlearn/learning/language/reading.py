"""From examples of a stream to tokens of documents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from everlearn.context import TokenRun
from everlearn.document_piece import DocumentPiece
from everlearn.errors import InputError
from everlearn.models.language.tokens import tokenize_chat, tokenize_document
from everlearn.types import Example

__all__ = ["chat_of", "place_of", "read_example", "text_of"]


def read_example(tokenizer: Any, example: Example) -> TokenRun:
    """The tokens of an example.

    A text is a document, unless it is a ``DocumentPiece``. Where the text was made of a field ``messages`` it
    is a chat, of which the answers are learned; a field ``tools`` holds what the assistant may call.

    Raises:
        InputError: It has no text, or its messages cannot be rendered; names the example.
    """
    messages = chat_of(example)
    if messages is not None:
        try:
            ids, is_target, num_bytes = tokenize_chat(tokenizer, messages, example.fields.get("tools"))
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
    piece = place_of(example)
    ids, is_target, num_bytes = tokenize_document(
        tokenizer, example.text, starts=piece.part == 0, ends=piece.is_last
    )
    return TokenRun(
        example_id=example.id,
        document=piece.document,
        ids=ids,
        is_target=is_target,
        num_bytes=num_bytes,
        domain=example.domain,
        starts_document=piece.part == 0,
        ends_document=piece.is_last,
    )


def text_of(example: Example) -> str:
    """What of an example is written by people: its text, or the contents of a chat, line by line."""
    messages = chat_of(example)
    if messages is None:
        return example.text or ""
    return "\n".join(str(message.get("content")) for message in messages)


def chat_of(example: Example) -> list[Any] | None:
    """The messages of a chat; None for other texts, also where a record has a field of that name itself."""
    messages = example.fields.get("messages")
    if not isinstance(messages, list) or not all(isinstance(message, Mapping) for message in messages):
        return None
    contents = "\n".join(str(message.get("content")) for message in messages)
    return messages if example.text in (None, contents) else None


def place_of(example: Example) -> DocumentPiece:
    """The document that an example belongs to, and where in it the example stands."""
    return DocumentPiece.of(example) or DocumentPiece.whole(example)
