"""The lexical half of a code: hashed word 1- and 2-grams with unit-length log(1 + count) values.

Everything that decides a value is an integer or one correctly rounded float64 operation, so a text gives the
same numbers on every machine.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from functools import cache
from itertools import islice
from zlib import crc32

import numpy as np
import numpy.typing as npt

__all__ = ["MAX_TOKENS", "gram_features", "log_counts", "tokens"]

MAX_TOKENS = 20_000
"""Tokens of a text that count; what follows them has no lexical part."""

# Ideographs and kana are written without spaces, so each is a token; the ranges are those of Unicode:
# iteration and zero marks, kana, phonetic extensions, ideographs (A, base, compatibility), halfwidth
# katakana, and the two supplementary planes.
_CJK = (
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f"
    "\U00020000-\U0003ffff"
)
_TOKEN = re.compile(rf"[{_CJK}]|[^\W_{_CJK}]+|[^\w\s]")
_LOG_SCALE = 4096


def tokens(text: str) -> list[str]:
    """Lower-cased tokens: words, single CJK characters, single punctuation marks; at most ``MAX_TOKENS``.

    >>> tokens("Don't stop, 你好!")
    ['don', "'", 't', 'stop', ',', '你', '好', '!']
    """
    lowered = text.lower()
    if len(lowered) <= MAX_TOKENS:  # cannot hold more tokens than characters
        return _TOKEN.findall(lowered)
    return [match.group() for match in islice(_TOKEN.finditer(lowered), MAX_TOKENS)]


def gram_features(text: str, ngram_max: int = 2) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint8]]:
    """Hash and weigh the word n-grams of a text.

    A gram's id is the CRC-32 of its UTF-8 bytes; the tokens of a bigram are joined by one space, and the
    first token also makes a bigram with an empty begin-of-text marker. Its value is log(1 + count), scaled
    so that the text's values have unit L2 norm, times 255, rounded half to even; grams that round to 0
    (only in very long texts) are dropped. Grams of one id are counted together.

    Args:
        text: Any string; lone surrogates count as "?".
        ngram_max: 1 for words alone, 2 for words and pairs of neighbours.

    Returns:
        uint32 ids (K,), strictly increasing, and uint8 values (K,). Both are empty for a text without
        tokens.

    >>> ids, values = gram_features("to be or not to be")
    >>> len(ids), values.tolist()
    (9, [69, 69, 110, 69, 69, 69, 69, 110, 110])
    """
    words = tokens(text)
    if not words:
        return np.empty(0, np.uint32), np.empty(0, np.uint8)
    encoded = " ".join(words).encode("utf-8", "replace").split(b" ")  # one call; tokens hold no space
    hashes = list(map(crc32, encoded))
    if ngram_max >= 2:
        # The CRC of a concatenation goes on from that of its beginning, so a bigram costs one more step.
        hashes += map(crc32, [b" " + word for word in encoded], [0, *hashes[:-1]])
    ids = np.array(hashes, dtype=np.uint32)
    ids.sort()
    if bool((ids[1:] != ids[:-1]).all()):  # nothing repeats: most short texts
        weight = _log_count(1)
        value = min(255, round(255 * weight / math.sqrt(len(ids) * weight * weight)))
        return ids, np.full(len(ids), value, np.uint8)
    counts = Counter(hashes)
    keys = sorted(counts)
    weights = [_log_count(counts[key]) for key in keys]
    norm = math.sqrt(sum(weight * weight for weight in weights))
    ids = np.array(keys, dtype=np.uint32)
    values = np.array([min(255, round(255 * weight / norm)) for weight in weights], dtype=np.uint8)
    kept = values > 0
    return ids[kept], values[kept]


def log_counts(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """log(1 + count) in units of 1/4096, as whole numbers."""
    table = np.array([_log_count(count) for count in range(int(counts.max(initial=0)) + 1)])
    return table[counts].astype(np.float64)


@cache
def _log_count(count: int) -> int:
    # The platform's log may err in its last bit; rounding to 1/4096 hides that.
    return round(_LOG_SCALE * math.log(1 + count))
