"""Counts of the most frequent of more things than memory holds.

When the table is full, the count that does not fit any more is taken off all (Misra and Gries 1982, in the
batched and mergeable form of Agarwal et al. 2012, https://doi.org/10.1145/2213556.2213562). A count is then
too low by at most ``num_lost``, which is at most the sum of all counts over the table's size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

__all__ = ["FrequentCounter"]

_OVERHEAD_BYTES = 100  # of a str and its place in a dict, about


class FrequentCounter:
    """Counts of strings in bounded memory; a pure function of the order in which they came.

    Args:
        max_bytes: Bound of ``num_bytes``: UTF-8 bytes of the strings and a constant for each.

    Attributes:
        num_lost: What a count may be too low by; 0 as long as everything fitted.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.num_lost = 0
        self._counts: dict[str, int] = {}
        self._num_bytes = 0

    def __len__(self) -> int:
        return len(self._counts)

    def __getitem__(self, item: str) -> int:
        return self._counts.get(item, 0)

    def items(self) -> Iterator[tuple[str, int]]:
        """Strings and counts, by string."""
        yield from sorted(self._counts.items())

    @property
    def num_bytes(self) -> int:
        """Bytes held, by the rule of ``max_bytes``."""
        return self._num_bytes

    def add(self, counts: Mapping[str, int]) -> None:
        """Add counts of a batch."""
        for item, count in counts.items():
            if item not in self._counts:
                self._num_bytes += _size(item)
                self._counts[item] = 0
            self._counts[item] += count
        if self._num_bytes > self.max_bytes:
            self._shrink()

    def remove(self, counts: Mapping[str, int]) -> None:
        """Take counts off again; exact as long as ``num_lost`` is 0."""
        for item, count in counts.items():
            if item in self._counts:
                self._counts[item] -= count
                if self._counts[item] <= 0:
                    self._drop(item)

    def load(self, counts: Mapping[str, int], num_lost: int) -> None:
        """Replace everything by what ``items`` and ``num_lost`` gave."""
        self._counts = dict(counts)
        self._num_bytes = sum(map(_size, self._counts))
        self.num_lost = num_lost

    def _shrink(self) -> None:
        # Half of the room becomes free, so that the cost of sorting is spread over many additions.
        kept_bytes = least = 0
        for item, count in sorted(self._counts.items(), key=lambda pair: (-pair[1], pair[0])):
            kept_bytes += _size(item)
            if kept_bytes > self.max_bytes // 2:
                least = count
                break
        self.num_lost += least
        for item in [item for item, count in self._counts.items() if count <= least]:
            self._drop(item)
        for item in self._counts:
            self._counts[item] -= least

    def _drop(self, item: str) -> None:
        del self._counts[item]
        self._num_bytes -= _size(item)


def _size(item: str) -> int:
    return len(item.encode("utf-8", "surrogatepass")) + _OVERHEAD_BYTES
