"""Checksums of rows: what was damaged on the disk is found when it is read, never loaded silently.

SQLite notices a torn transaction, but not a bit that flipped within a page; each row that matters
therefore carries the CRC-32 of its values.
"""

from __future__ import annotations

import hashlib
import json
import zlib

from everlearn.types import Json

__all__ = ["canonical_json", "chained", "checksum"]


def checksum(*values: object) -> int:
    """CRC-32 over values of a row: text, bytes, numbers and None, in order.

    >>> checksum("a", 1, None) == checksum("a", 1, None), checksum("a", "1") == checksum("a1", "")
    (True, False)
    """
    crc = 0
    for value in values:
        if isinstance(value, bytes):
            crc = zlib.crc32(value, zlib.crc32(b"b%d:" % len(value), crc))
        else:
            kind = type(value).__name__[0]
            text = str(value).encode("utf-8", "surrogatepass")
            crc = zlib.crc32(text, zlib.crc32(f"{kind}{len(text)}:".encode(), crc))
    return crc


def chained(previous: bytes, *values: object) -> bytes:
    """The next link of a chain of hashes: 16 bytes that stand for everything up to here."""
    digest = hashlib.blake2b(previous, digest_size=16)
    for value in values:
        data = value if isinstance(value, bytes) else repr(value).encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.digest()


def canonical_json(value: Json) -> str:
    """JSON in the one form that checksums are taken of."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
