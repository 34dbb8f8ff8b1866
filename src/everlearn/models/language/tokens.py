"""Documents and chats as tokens: which of them are learned, and for how many bytes of text each stands.

T: tokens.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from everlearn.errors import InputError
from everlearn.models.language.chat_regions import (
    ChatRegion,
    Messages,
    Tools,
    check_calls,
    check_messages,
    check_tools,
    content_region,
    render_chat,
    turn_stop,
)
from everlearn.models.language.token_bytes import Encoded, encode_marked, encode_plain, join, special_strings

__all__ = [
    "TokenizedText",
    "separator_id",
    "tokenize_chat",
    "tokenize_document",
    "tokenize_prompt",
    "tokenizer_sha256",
]

BoolArray = npt.NDArray[np.bool_]
Int32Array = npt.NDArray[np.int32]


class TokenizedText(NamedTuple):
    """A text as tokens.

    Attributes:
        ids: int32 (T,).
        is_target: bool (T,): the model is to learn to predict this token.
        num_bytes: int32 (T,): UTF-8 bytes of text that the token stands for, 0 for special tokens. A loss in
            nats divided by their sum and ln 2 is bits per byte, which models of any vocabulary share.
    """

    ids: Int32Array
    is_target: BoolArray
    num_bytes: Int32Array


def separator_id(tokenizer: Any) -> int | None:
    """The token that a document begins with: "beginning of sequence", else "end of sequence", else none."""
    for found in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if found is not None:
            return int(found)
    return None


def tokenizer_sha256(tokenizer: Any) -> str:
    """SHA-256 (hex) of what a tokenizer makes tokens by."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    text = backend.to_str() if backend is not None else json.dumps(tokenizer.get_vocab(), sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def tokenize_document(tokenizer: Any, text: str, *, starts: bool, ends: bool) -> TokenizedText:
    """Tokenize a document or a piece of one.

    Strings in the text that look like special tokens are text. The bytes add up to ``len(text.encode())``
    (unless a text of white space alone becomes no token at all).

    Args:
        tokenizer: Of transformers. It is not changed.
        text: The text.
        starts: The document begins here: its separator comes first, if the tokenizer has one. It is given,
            not predicted. Without one, nothing predicts the document's first token.
        ends: The document ends here: "end of sequence" comes last, if the tokenizer has it, to be predicted.

    Raises:
        InputError: The text holds half of a surrogate pair.

    >>> from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    >>> from transformers import PreTrainedTokenizerFast
    >>> vocabulary = {"<s>": 0, "h": 1, "i": 2, "Ã": 3, "¶": 4}
    >>> backend = Tokenizer(models.BPE(vocabulary, merges=[]))
    >>> backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    >>> backend.decoder = decoders.ByteLevel()
    >>> tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>")
    >>> ids, is_target, num_bytes = tokenize_document(tokenizer, "hiö", starts=True, ends=True)
    >>> ids.tolist(), is_target.tolist(), num_bytes.tolist()
    ([0, 1, 2, 3, 4], [False, True, True, True, True], [0, 1, 1, 1, 1])
    """
    encoded = encode_plain(tokenizer, text)
    separator = separator_id(tokenizer) if starts else None
    end = tokenizer.eos_token_id if ends else None
    first = [] if separator is None else [separator]
    last = [] if end is None else [int(end)]
    count = len(encoded.ids)
    return TokenizedText(
        np.concatenate([first, encoded.ids, last]).astype(np.int32),
        np.array([False] * len(first) + [True] * (count + len(last)), dtype=np.bool_),
        np.concatenate([[0] * len(first), np.diff(encoded.byte_ends, prepend=0), [0] * len(last)]).astype(
            np.int32
        ),
    )


def tokenize_chat(tokenizer: Any, messages: object, tools: object = None) -> TokenizedText:
    """Tokenize a chat as the model's chat template writes it; the assistant's turns are to be learned.

    A target is every token of an assistant's content and what closes the turn, up to the first special token
    (the one that stops generation) or, where there is none, the turn's end; of a turn with calls, all up to
    its last special token. Bytes are those of the assistant's contents and calls alone. Special tokens that
    a message's content spells out are text: for such a chat, contents are tokenized apart from what the
    template writes around them.

    Args:
        tokenizer: Of transformers, with a chat template. It is not changed.
        messages: A list of objects with the texts "role" and "content", at least one of the role "assistant".
        tools: That the assistant may call: a list of objects as the template takes them.

    Raises:
        InputError: The tokenizer has no chat template, the messages are malformed (the place is named), or
            the template does not take them, or does not show a call.
    """
    checked, offered = check_messages(messages), check_tools(tools)
    rendered = render_chat(tokenizer, checked, tools=offered)
    check_calls(tokenizer, checked, rendered, tools=offered)
    answers = {
        number: content_region(tokenizer, checked, number, rendered, tools=offered)
        for number, message in enumerate(checked)
        if message["role"] == "assistant"
    }
    encoded = _encode_chat(tokenizer, checked, rendered, answers, tools=offered)
    byte_starts = np.concatenate(([0], encoded.byte_ends[:-1]))
    special_ids = np.array(tokenizer.convert_tokens_to_ids(list(special_strings(tokenizer))), dtype=np.int64)
    is_special = np.isin(encoded.ids, special_ids)
    is_target = np.zeros(len(encoded.ids), dtype=np.bool_)
    num_bytes = np.zeros(len(encoded.ids), dtype=np.int64)
    for number, region in answers.items():
        start, stop, turn = (
            len(rendered[:character].encode())
            for character in (
                region.start,
                region.stop,
                turn_stop(tokenizer, checked, number, rendered, region, tools=offered),
            )
        )
        closing = np.flatnonzero(is_special & (byte_starts >= stop) & (byte_starts < turn))
        if checked[number].get("tool_calls"):  # they stand behind the content, between special tokens or not
            closing = closing[-1:]
            stop = byte_starts[closing[0]] if len(closing) else turn
        learned_stop = encoded.byte_ends[closing[0]] if len(closing) else max(turn, stop)
        length = np.minimum(encoded.byte_ends, stop) - np.maximum(byte_starts, start)
        num_bytes += np.where(is_special, 0, np.clip(length, 0, None))
        is_target |= (encoded.byte_ends > start) & (byte_starts < learned_stop)
    return TokenizedText(encoded.ids.astype(np.int32), is_target, num_bytes.astype(np.int32))


def tokenize_prompt(tokenizer: Any, prompt: object, *, chat: bool = False) -> Int32Array:
    """Tokenize what a model is to go on from, as documents and chats are tokenized: int32 (T,).

    Args:
        tokenizer: Of transformers. It is not changed.
        prompt: The beginning of a document; for a chat also its messages so far.
        chat: The prompt is a chat (or the only message of one), and the assistant is to answer.

    Raises:
        InputError: As of ``tokenize_document`` and ``tokenize_chat``; or there is nothing to go on from.
    """
    if not chat:
        ids = tokenize_document(tokenizer, str(prompt), starts=True, ends=False).ids
        if not len(ids):
            raise InputError("the prompt is empty, and the model has no token that begins a document")
        return ids
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    checked = check_messages(messages, answered=False)
    rendered = render_chat(tokenizer, checked, for_answer=True)
    return _encode_chat(tokenizer, checked, rendered, {}, for_answer=True).ids.astype(np.int32)


def _encode_chat(
    tokenizer: Any,
    messages: Messages,
    rendered: str,
    regions: Mapping[int, ChatRegion],
    *,
    for_answer: bool = False,
    tools: Tools | None = None,
) -> Encoded:
    """Tokenize a rendered chat; apart where a content spells out special tokens.

    Args:
        tokenizer: Of transformers.
        messages: The chat.
        rendered: As ``render_chat`` gives it.
        regions: Of the contents that were looked for already.
        for_answer: As of ``render_chat``.
        tools: As of ``render_chat``.
    """
    specials = special_strings(tokenizer)
    spelled = [
        number
        for number, message in enumerate(messages)
        if any(special in message["content"] for special in specials)
    ]
    if not spelled:
        return encode_marked(tokenizer, rendered)
    missing = set(spelled) - set(regions)
    found = {
        number: content_region(tokenizer, messages, number, rendered, for_answer=for_answer, tools=tools)
        for number in missing
    }
    apart = sorted([*regions.values(), *found.values()], key=lambda region: (region.start, region.stop))
    borders = [0, *(border for region in apart for border in (region.start, region.stop)), len(rendered)]
    pieces = [rendered[start:stop] for start, stop in pairwise(borders)]
    return join(
        [
            encode_plain(tokenizer, piece) if number % 2 else encode_marked(tokenizer, piece)
            for number, piece in enumerate(pieces)
        ]
    )
