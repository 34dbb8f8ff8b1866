"""The n-grams of a text, sketched to a vector of fixed length: what tells texts apart by their writing.

A count sketch (Charikar, Chen and Farach-Colton, 2002; Weinberger et al., "Feature hashing for large scale
multitask learning", ICML 2009) gives each n-gram a component and a sign; products of sketches are, in
expectation, those of the counts. Characters tell what words cannot: inflection, typing errors, and scripts
without spaces.

Everything that decides a component is an integer or one correctly rounded float64 operation, so a text gives
the same numbers on every machine.

Legend: N texts, S components, G n-grams of all texts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from everlearn.models.encoder.lexical import log_counts
from everlearn.models.encoder.quantization import STEPS_PER_DEVIATION

__all__ = ["MAX_CHARACTERS", "gram_sketches"]

MAX_CHARACTERS = 5_000
"""Characters of a text whose n-grams are sketched."""

_ORDERS = (2, 3, 4)
_TEXTS_AT_ONCE = 256
_HASH_BITS = np.uint64(44)  # of an n-gram of characters; the others name the text
_TEXT_BITS = np.uint64(20)
_HASH_MASK = np.uint64(2**44 - 1)
# Odd constants of good avalanche: of SplitMix64 and xxHash.
_MULTIPLY = np.uint64(0x9E3779B97F4A7C15)
_SPREAD = np.uint64(0xC2B2AE3D27D4EB4F)

UInt64Array = npt.NDArray[np.uint64]
WordGrams = tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint8]]


def gram_sketches(texts: Sequence[str], words: Sequence[WordGrams], size: int) -> npt.NDArray[np.int8]:
    """Sketch the n-grams of texts: words as they come, and characters.

    Characters are lower-cased, white space counts as one space, and a space goes before and behind a text.
    n-grams of 2, 3 and 4 characters weigh log(1 + count). The sketches of words and of characters, each of
    unit length, are added, and scaled to about 20 steps a standard deviation, ±127 at most: a text with few
    n-grams has a shorter vector.

    Args:
        texts: Any strings.
        words: ``gram_features`` of each.
        size: S.

    Returns:
        int8 (N, S). A text without n-grams is a row of zeros.
    """
    found_NS = np.empty((len(texts), size), np.int8)
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        part = slice(start, start + _TEXTS_AT_ONCE)
        sketch_BS = _unit(_of_words(words[part], size))
        sketch_BS += _unit(_of_characters(texts[part], size))
        sketch_BS *= STEPS_PER_DEVIATION * math.sqrt(size / 2)
        found_NS[part] = np.clip(np.rint(sketch_BS, out=sketch_BS), -127, 127, out=sketch_BS)
    return found_NS


def _of_words(words: Sequence[WordGrams], size: int) -> npt.NDArray[np.float64]:
    texts_G = np.repeat(np.arange(len(words)), [len(ids) for ids, _ in words])
    ids = np.concatenate([ids for ids, _ in words]).astype(np.uint64)
    values = np.concatenate([values for _, values in words]).astype(np.float64)
    return _sketched(texts_G, _mixed(ids * _SPREAD), values, len(words), size)


def _of_characters(texts: Sequence[str], size: int) -> npt.NDArray[np.float64]:
    points = [_points(text) for text in texts]
    lengths = np.array([len(own) for own in points])
    all_points = np.concatenate(points).astype(np.uint64) * _SPREAD
    text_of = np.repeat(np.arange(len(texts), dtype=np.uint64), lengths)
    keys = []
    for order in _ORDERS:
        num = max(0, len(all_points) - order + 1)
        hash_G = np.full(num, order, np.uint64)
        for place in range(order):
            hash_G = _mixed(hash_G ^ all_points[place : place + num])
        is_within = text_of[:num] == text_of[order - 1 :]  # the others reach into the next text
        keys.append(((text_of[:num] << _HASH_BITS) | (hash_G >> _TEXT_BITS))[is_within])
    # In order, what is equal stands together and can be counted.
    key_G = np.sort(np.concatenate(keys))
    starts = np.flatnonzero(np.append(True, key_G[1:] != key_G[:-1])) if len(key_G) else np.zeros(0, np.int64)
    counts = np.diff(np.append(starts, len(key_G)))
    found = key_G[starts]
    return _sketched(
        (found >> _HASH_BITS).astype(np.int64), found & _HASH_MASK, log_counts(counts), len(texts), size
    )


def _points(text: str) -> npt.NDArray[np.uint32]:
    """Code points of a text as its n-grams are made of them."""
    spaced = " ".join(text[:MAX_CHARACTERS].lower().split())
    spaced = f" {spaced} " if spaced else ""
    return np.frombuffer(spaced.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def _mixed(hashes: UInt64Array) -> UInt64Array:
    hashes = hashes * _MULTIPLY  # modulo 2**64
    return hashes ^ (hashes >> np.uint64(32))


def _sketched(
    text_G: npt.NDArray[np.int64], hash_G: UInt64Array, values_G: npt.NDArray[np.float64], num: int, size: int
) -> npt.NDArray[np.float64]:
    """Whole numbers (N, S): each n-gram's value at its component, with its sign."""
    mixed = _mixed(hash_G)
    component = ((mixed >> np.uint64(32)) * np.uint64(size)) >> np.uint64(32)
    signs = 1.0 - 2.0 * (mixed & np.uint64(1)).astype(np.float64)
    places = text_G * size + component.astype(np.int64)
    sums = np.bincount(places, weights=values_G * signs, minlength=num * size)
    return sums.reshape(num, size).astype(np.float64, copy=False)


def _unit(sums_NS: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    # Squares of whole numbers, and their sums, are exact far beyond what a text's n-grams come to.
    norms = np.sqrt(np.square(sums_NS).sum(axis=1, keepdims=True))
    return sums_NS / np.where(norms > 0, norms, 1.0)
