"""A bounded sample of a stream that is a function of the *set* of examples, not of their order.

Every id is hashed; the sample is the examples with the smallest hashes (bottom-k sampling, Cohen
and Kaplan 2007). Two samples merge into the sample of the union, and an example can be taken
out. So that a removal can be made good, more examples are held than are used.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from everlearn.types import Code

__all__ = ["HashSample", "Sampled", "hash_id"]


@dataclass(frozen=True, slots=True)
class Sampled:
    """One member of the sample, ordered by the hash of its id; where an id comes twice, by label and code."""

    hash: int
    id: str
    label: str
    code: Code = field(compare=False)

    @classmethod
    def of(cls, id: str, label: str, code: Code) -> Sampled:
        """Hash the id (64 bits of BLAKE2b)."""
        return cls(hash_id(id), id, label, code)

    def __lt__(self, other: Sampled) -> bool:
        mine, others = _key(self), _key(other)
        return mine < others if mine != others else _code_key(self.code) < _code_key(other.code)


class HashSample:
    """The ``size`` examples whose ids have the smallest hashes.

    Args:
        size: Examples used at most.
        reserve: So many more are held; default: as many again.
    """

    def __init__(self, size: int, reserve: int | None = None) -> None:
        self.size = size
        self._most = size + (size if reserve is None else reserve)
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

    def offer(self, member: Sampled) -> None:
        """Take one example in, if its hash is small enough."""
        if self._horizon is None or member.hash < self._horizon:
            insort(self._members, member)
            self._trim()

    def has_room_for(self, num: int) -> bool:
        """Whether so many more leave ``has_all`` as it is."""
        return len(self._members) + num <= self._most

    def holds(self, ids: Sequence[str], labels: Sequence[str], codes: Sequence[Code]) -> bool:
        """Whether all these are members, with these very codes."""
        found = set()
        for id_, label, code in zip(ids, labels, codes, strict=True):
            places = (k for k in self._places(id_, label) if k not in found and self._members[k].code == code)
            place = next(places, None)
            if place is None:
                return False
            found.add(place)
        return True

    def remove(self, ids: Sequence[str], labels: Sequence[str], codes: Sequence[Code]) -> None:
        """Take examples out; those that are not held are ignored."""
        for id_, label, code in zip(ids, labels, codes, strict=True):
            places = self._places(id_, label)
            if places:
                same = (k for k in places if self._members[k].code == code)
                del self._members[next(same, places[0])]

    def _places(self, id_: str, label: str) -> range:
        """Where members of this id and label are; an id may be there more than once."""
        key = (hash_id(id_), id_, label)
        start = bisect_left(self._members, key, key=_key)
        return range(start, bisect_right(self._members, key, lo=start, key=_key))

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
            self.offer(member)

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
        if len(self._members) > self._most:
            horizon = self._members[self._most].hash
            self._horizon = horizon
            # Equal hashes (the same id twice) leave together, so that the horizon stays true.
            self._members = [m for m in self._members[: self._most] if m.hash < horizon]


def _key(member: Sampled) -> tuple[int, str, str]:
    return member.hash, member.id, member.label


def _code_key(code: Code) -> tuple[bytes, bytes, bytes]:
    return code.dense.tobytes(), code.gram_ids.tobytes(), code.gram_values.tobytes()


def hash_id(id_: str) -> int:
    """64 bits of BLAKE2b of an id."""
    return int.from_bytes(
        hashlib.blake2b(id_.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big"
    )
