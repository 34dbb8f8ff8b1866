"""A source read from its beginning to its end, in batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from everlearn.stream.source import EndOfStream, Rejection, Source
from everlearn.types import Example

__all__ = ["read_batches"]


def read_batches(source: Source, limit: int) -> Iterator[tuple[Sequence[Example], Sequence[Rejection]]]:
    """Batches of at most ``limit`` examples, and the records that were rejected on the way to each."""
    reader = source.open()
    try:
        while True:
            yield reader.next_batch(limit), reader.take_rejected()
    except EndOfStream:
        yield (), reader.take_rejected()
    finally:
        reader.close()
