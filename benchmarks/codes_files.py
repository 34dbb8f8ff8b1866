"""Whole codes files at once, for benchmarks that rearrange them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from everlearn.stream import CodesSource, CodesWriter, EndOfStream
from everlearn.types import Example

__all__ = ["read_codes", "write_codes"]


def read_codes(path: Path) -> list[Example]:
    """All examples of a codes file."""
    reader = CodesSource(path).open()
    found: list[Example] = []
    try:
        while True:
            found += reader.next_batch(4_096)
    except EndOfStream:
        return found
    finally:
        reader.close()


def write_codes(path: Path, examples: Sequence[Example], like: CodesSource) -> None:
    """A codes file of these examples, of the same coder as another one."""
    with CodesWriter(
        path,
        coder_fingerprint=like.coder_fingerprint,
        coder_config=like.coder_config,
        dense_size=like.dense_size,
    ) as writer:
        writer.write(examples)
