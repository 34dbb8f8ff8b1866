"""Tokenizing text as nothing but text, and how many of its UTF-8 bytes each token stands for.

A tokenizer of ``transformers`` keeps settings in the object that all its callers share (truncation, whether
special tokens are looked for). So text is tokenized by private copies, made once a tokenizer.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from everlearn.errors import InputError

__all__ = ["Encoded", "encode_marked", "encode_plain", "join", "special_strings"]

IntArray = npt.NDArray[np.int64]

_BYTE_TOKEN = re.compile(r"<0x[0-9A-F]{2}>")


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """Tokens of a text.

    Attributes:
        ids: int64 (T,).
        byte_ends: int64 (T,), not decreasing: UTF-8 bytes of the text up to and with each token; the last
            one is the text's length.
        num_bytes: UTF-8 bytes of the text.
    """

    ids: IntArray
    byte_ends: IntArray
    num_bytes: int


@dataclass(frozen=True, slots=True, eq=False)
class _Copies:
    """Copies of a fast tokenizer's backend, which nobody else sets anything of.

    Attributes:
        plain: Reads strings like "<|im_end|>" as text.
        marked: Reads them as the special tokens that they name.
        special: Those strings.
        byte_level: Whether a token's string has one character a byte.
        size: Tokens it had when it was copied; tokens may be added later.
    """

    plain: Any
    marked: Any
    special: tuple[str, ...]
    byte_level: bool
    size: int


_copies: WeakKeyDictionary[Any, _Copies] = WeakKeyDictionary()
_copies_lock = Lock()


def encode_plain(tokenizer: Any, text: str, *, is_target: bool = False) -> Encoded:
    """Tokenize a text in which special tokens have no meaning; nothing is added to it.

    Args:
        tokenizer: Of transformers.
        text: The text.
        is_target: It is the target of a pair, which some tokenizers read by a vocabulary of its own.

    Raises:
        InputError: The text holds half of a surrogate pair.
    """
    settings = {"split_special_tokens": True, "is_target": is_target}
    whole = _encode_whole(tokenizer, text, **settings)
    cuts = _cuts(tokenizer, text, whole.ids)
    if not cuts:
        return whole
    pieces = [text[start:stop] for start, stop in pairwise([0, *cuts, len(text)])]
    return join([_encode_whole(tokenizer, piece, **settings) for piece in pieces])


def encode_marked(tokenizer: Any, text: str) -> Encoded:
    """Tokenize a text in which special tokens are written out, as a chat template does; nothing is added.

    Raises:
        InputError: The text holds half of a surrogate pair.
    """
    return _encode_whole(tokenizer, text, split_special_tokens=False)


def special_strings(tokenizer: Any) -> tuple[str, ...]:
    """The strings that ``encode_marked`` reads as special tokens."""
    if _is_fast(tokenizer):
        return _copies_of(tokenizer).special
    return tuple(tokenizer.all_special_tokens)


def join(parts: Sequence[Encoded]) -> Encoded:
    """The tokens of texts that were tokenized apart, as those of one text."""
    ids: list[IntArray] = []
    ends: list[IntArray] = []
    num_bytes = 0
    for part in parts:
        ids.append(part.ids)
        ends.append(part.byte_ends + num_bytes)
        num_bytes += part.num_bytes
    joined = np.concatenate(ends)
    if len(joined):
        joined[-1] = num_bytes
    return Encoded(np.concatenate(ids), joined, num_bytes)


def _encode_whole(
    tokenizer: Any, text: str, *, split_special_tokens: bool, is_target: bool = False
) -> Encoded:
    try:
        num_bytes = len(text.encode())
    except UnicodeEncodeError as error:
        raise InputError(
            f"the text holds half of a surrogate pair at character {error.start}, which is no Unicode"
        ) from error
    if _is_fast(tokenizer):
        copies = _copies_of(tokenizer)
        backend = copies.plain if split_special_tokens else copies.marked
        encoding = backend.encode(text, add_special_tokens=False)
        ids = np.array(encoding.ids, dtype=np.int64)
        ends = _ends_by_offsets(text, encoding, copies.byte_level)
    else:
        settings = {"add_special_tokens": False, "truncation": False, "verbose": False}
        side = {"text_target" if is_target else "text": text}
        found = tokenizer(**side, split_special_tokens=split_special_tokens, **settings)
        ids = np.array(found["input_ids"], dtype=np.int64)
        ends = _ends_by_strings(tokenizer.convert_ids_to_tokens(ids.tolist()), num_bytes)
    if len(ends):
        ends[-1] = num_bytes  # white space that the tokenizer cuts off belongs to the last token
    return Encoded(ids, ends, num_bytes)


def _cuts(tokenizer: Any, text: str, ids: IntArray) -> list[int]:
    """Where to cut a text so that special tokens do not come out of it: behind their first characters.

    Some vocabularies hold them as ordinary pieces too, so that not looking for them is not enough.
    """
    spelled = [special for special in special_strings(tokenizer) if len(special) > 1 and special in text]
    spelled = [special for special in spelled if (ids == tokenizer.convert_tokens_to_ids(special)).any()]
    if not spelled:
        return []
    # Looking ahead, so that occurrences that overlap are all cut.
    pattern = "|".join(f"{re.escape(special[0])}(?={re.escape(special[1:])})" for special in spelled)
    return [match.end() for match in re.finditer(pattern, text)]


def _ends_by_offsets(text: str, encoding: Any, byte_level: bool) -> IntArray:
    """UTF-8 bytes up to each token, from the characters that it says it covers.

    What no token covers counts with the token behind it. Several tokens may make up one character: then each
    has the bytes that its own string stands for, or, where those do not add up because the tokenizer changes
    characters, the last one has them all.
    """
    offsets = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
    char_ends = np.maximum.accumulate(offsets[:, 1]) if len(offsets) else offsets[:, 1]
    byte_ends = _byte_positions(text)[char_ends]
    # Runs of tokens each of which begins before the one ahead of it has ended; those of one token are done.
    starts = np.flatnonzero(offsets[:, 0] >= np.concatenate(([-1], char_ends[:-1])))
    sizes = np.diff(np.append(starts, len(char_ends)))
    starts, sizes = starts[sizes > 1], sizes[sizes > 1]
    if not len(starts):
        return byte_ends
    before = np.where(starts > 0, byte_ends[starts - 1], 0)
    totals = byte_ends[starts + sizes - 1] - before
    run_starts = np.cumsum(sizes) - sizes  # in the array of all tokens of such runs
    members = np.repeat(starts - run_starts, sizes) + np.arange(sizes.sum())
    tokens = encoding.tokens
    lengths = np.array([_string_bytes(tokens[member], byte_level) for member in members.tolist()])
    fits = np.add.reduceat(lengths, run_starts) == totals
    lengths[~np.repeat(fits, sizes)] = 0
    lengths[(run_starts + sizes - 1)[~fits]] = totals[~fits]
    ends = np.cumsum(lengths)
    byte_ends[members] = ends + np.repeat(before - ends[run_starts] + lengths[run_starts], sizes)
    return byte_ends


def _ends_by_strings(tokens: list[str], num_bytes: int) -> IntArray:
    """UTF-8 bytes up to each token in proportion to the tokens' strings: exact where those add up."""
    lengths = np.array([_string_bytes(token, byte_level=False) for token in tokens], dtype=np.int64)
    ends: IntArray = np.cumsum(lengths)
    if not len(ends) or ends[-1] == num_bytes:
        return ends
    scaled: IntArray = (ends * num_bytes + ends[-1] // 2) // max(1, int(ends[-1]))
    return scaled


def _string_bytes(token: str, byte_level: bool) -> int:
    if byte_level:
        return len(token)
    if _BYTE_TOKEN.fullmatch(token):
        return 1
    return len(token.replace("▁", " ").encode())


def _byte_positions(text: str) -> IntArray:
    """Where in UTF-8 each character begins, and where the last one ends: (characters + 1,)."""
    if text.isascii():
        return np.arange(len(text) + 1, dtype=np.int64)
    points = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    widths = 1 + (points > 0x7F).astype(np.int64) + (points > 0x7FF) + (points > 0xFFFF)
    return np.concatenate(([0], np.cumsum(widths)))


def _is_fast(tokenizer: Any) -> bool:
    return bool(getattr(tokenizer, "is_fast", False))


def _copies_of(tokenizer: Any) -> _Copies:
    backend = tokenizer.backend_tokenizer
    size = backend.get_vocab_size(with_added_tokens=True)
    with _copies_lock:
        known = _copies.get(tokenizer)
        if known is None or known.size != size:
            known = _copies[tokenizer] = _copy(backend, size)
    return known


def _copy(backend: Any, size: int) -> _Copies:
    plain, marked = copy.deepcopy(backend), copy.deepcopy(backend)
    for tokenizer in (plain, marked):
        tokenizer.no_truncation()
        tokenizer.no_padding()
    plain.encode_special_tokens = True
    marked.encode_special_tokens = False
    added = backend.get_added_tokens_decoder()
    special = tuple(token.content for _, token in sorted(added.items()) if token.special)
    decoder = backend.decoder
    byte_level = decoder is not None and b'"ByteLevel"' in decoder.__getstate__()
    return _Copies(plain, marked, special, byte_level, size)
