"""A bounded sample of a stream that is a function of the *set* of examples, not of their order.

Every id is hashed; the sample is the examples with the smallest hashes (bottom-k sampling, Cohen
and Kaplan 2007). Two samples merge into the sample of the union, and an example can be taken
out. So that a removal can be made good, twice as many examples are held as are used.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from everlearn.types import Code

__all__ = ["HashSample", "Sampled", "hash_id"]


@dataclass(frozen=True, slots=True, order=True)
class Sampled:
    """One member of the sample, ordered by the hash of its id."""

    hash: int
    id: str
    label: str
    code: Code = field(compare=False)

    @classmethod
    def of(cls, id: str, label: str, code: Code) -> Sampled:
        """Hash the id (64 bits of BLAKE2b)."""
        return cls(hash_id(id), id, label, code)


class HashSample:
    """The ``size`` examples whose ids have the smallest hashes.

    Args:
        size: Examples used at most; up to twice as many are held.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._members: list[Sampled] = []
        # All examples with a hash below the horizon are held; those above were let go.
        self._horizon: int | None = None

    def __len__(self) -> int:
        return min(self.size, len(self._members))

    def __iter__(self) -> Iterator[Sampled]:
        """The members in use, smallest hash first."""
        return iter(self._members[: self.size])

    @property
    def num_held(self) -> int:
        """Members, those in reserve included."""
        return len(self._members)

    @property
    def has_all(self) -> bool:
        """Whether no example was let go yet."""
        return self._horizon is None

    @property
    def is_complete(self) -> bool:
        """Whether the members in use are the right ones.

        False after so many removals that examples which were let go would be needed; then
        ``rebuild`` from all remaining examples makes it right again.
        """
        return self._horizon is None or len(self._members) >= self.size

    def add(self, ids: Sequence[str], labels: Sequence[str], codes: Sequence[Code]) -> None:
        """Offer examples; those with small enough hashes are kept."""
        for id_, label, code in zip(ids, labels, codes, strict=True):
            hash_ = hash_id(id_)
            if self._horizon is None or hash_ < self._horizon:
                insort(self._members, Sampled(hash_, id_, label, code))
        self._trim()

    def remove(self, ids: Sequence[str], labels: Sequence[str]) -> None:
        """Take examples out; those that are not held are ignored."""
        for id_, label in zip(ids, labels, strict=True):
            key = (hash_id(id_), id_, label)
            at = bisect_left(self._members, key, key=lambda m: (m.hash, m.id, m.label))
            if at < len(self._members):
                found = self._members[at]
                if (found.hash, found.id, found.label) == key:
                    del self._members[at]

    def merge(self, other: HashSample) -> None:
        """Become the sample of the union of both streams."""
        horizons = [h for h in (self._horizon, other._horizon) if h is not None]
        self._horizon = min(horizons) if horizons else None
        both = sorted([*self._members, *other._members])
        self._members = [m for m in both if self._horizon is None or m.hash < self._horizon]
        self._trim()

    def rebuild(self, members: Iterable[Sampled]) -> None:
        """Start anew from all examples of the stream; they may come lazily."""
        self._members = []
        self._horizon = None
        for member in members:
            if self._horizon is None or member.hash < self._horizon:
                insort(self._members, member)
                self._trim()

    def members(self) -> list[Sampled]:
        """All members, those in reserve included, smallest hash first."""
        return list(self._members)

    @property
    def horizon(self) -> int | None:
        """Hash below which every example is held; None while nothing was let go."""
        return self._horizon

    def load(self, members: Sequence[Sampled], horizon: int | None) -> None:
        """Replace the sample by what ``members`` and ``horizon`` gave."""
        self._members = sorted(members)
        self._horizon = horizon

    def _trim(self) -> None:
        if len(self._members) > 2 * self.size:
            horizon = self._members[2 * self.size].hash
            self._horizon = horizon
            # Equal hashes (the same id twice) leave together, so that the horizon stays true.
            self._members = [m for m in self._members[: 2 * self.size] if m.hash < horizon]


def hash_id(id_: str) -> int:
    """64 bits of BLAKE2b of an id."""
    return int.from_bytes(
        hashlib.blake2b(id_.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big"
    )
