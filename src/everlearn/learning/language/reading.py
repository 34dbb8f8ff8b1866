"""From examples of a stream to tokens of documents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from everlearn.context import TokenRun
from everlearn.errors import InputError
from everlearn.models.language.tokens import tokenize_chat, tokenize_document
from everlearn.types import Example

__all__ = ["chat_of", "document_of", "read_example", "text_of"]


def read_example(tokenizer: Any, example: Example) -> TokenRun:
    """The tokens of an example.

    A text is a document, unless its fields ``document``, ``part`` and ``last`` say that it is a piece of
    one. Where the text was made of a field ``messages`` it is a chat, of which the answers are learned; a
    field ``tools`` holds what the assistant may call.

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


def document_of(example: Example) -> tuple[str, bool, bool]:
    """Name of the document that an example belongs to, and whether it starts and ends it.

    A record may have fields of these names itself; pieces are those whose fields are of the right types: a
    text, a whole number, true or false.
    """
    fields: Mapping[str, Any] = example.fields
    document, part, last = (fields.get(name) for name in ("document", "part", "last"))
    is_piece = isinstance(document, str) and type(part) is int and part >= 0 and isinstance(last, bool)
    if not is_piece:
        return example.id, True, True
    return str(document), part == 0, bool(last)
