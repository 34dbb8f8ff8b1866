"""The texts that word ridge is fitted on: a bounded sample, larger than the one that settings are chosen on.

Only grams are held, not the dense part of a code. While the other sample holds every example, there is
nothing to hold here: its members are the texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from everlearn.memory.hash_sample import HashSample, Sampled
from everlearn.types import Code

__all__ = ["TextSample", "bare"]

_TIMES = 16
_RESERVE_TIMES = 4
_NOTHING = np.zeros(0, np.int8)


class TextSample:
    """Grams of some examples, by the smallest hashes of their ids.

    Args:
        sample: The sample that settings are chosen on; changed by others, who say so here.
    """

    def __init__(self, sample: HashSample) -> None:
        self._sample = sample
        self._own = self.empty()

    def empty(self) -> HashSample:
        """Something to fill, for ``replace``."""
        return HashSample(_TIMES * self._sample.size, _RESERVE_TIMES * self._sample.size)

    @property
    def own(self) -> HashSample | None:
        """What is held here; None: the other sample holds it."""
        return None if self._sample.has_all else self._own

    @property
    def is_complete(self) -> bool:
        """See ``HashSample``."""
        return self._sample.has_all or self._own.is_complete

    def __iter__(self) -> Iterator[Sampled]:
        """The members in use, smallest hash first."""
        return iter(self._sample.members()) if self._sample.has_all else iter(self._own)

    def members(self) -> list[Sampled]:
        """All members, those in reserve included, smallest hash first."""
        return self._sample.members() if self._sample.has_all else self._own.members()

    def before_more(self, num: int) -> None:
        """So many examples will be added to the other sample, and to this one thereafter."""
        if self._sample.has_all and not self._sample.has_room_for(num):
            self._own = self._all()

    def add(self, ids: Sequence[str], labels: Sequence[str], codes: Sequence[Code]) -> None:
        """Offer examples that the other sample was offered."""
        if not self._sample.has_all:
            self._own.add(ids, labels, [_bare(code) for code in codes])

    def remove(self, ids: Sequence[str], labels: Sequence[str], codes: Sequence[Code]) -> None:
        """Take examples out; those that are not held are ignored."""
        if not self._sample.has_all:
            self._own.remove(ids, labels, [_bare(code) for code in codes])

    def merged(self, other: TextSample) -> HashSample:
        """What both hold, before the other samples are merged; for ``replace``."""
        both = self._all()
        both.merge(other._all())
        return both

    def replace(self, own: HashSample) -> None:
        """Hold this, if the other sample does not hold everything."""
        self._own = self.empty() if self._sample.has_all else own

    def _all(self) -> HashSample:
        if not self._sample.has_all:
            return self._own
        made = self.empty()
        made.load([bare(member) for member in self._sample.members()], None)
        return made


def bare(member: Sampled) -> Sampled:
    """A member without the dense part of its code."""
    return Sampled(member.hash, member.id, member.label, _bare(member.code))


def _bare(code: Code) -> Code:
    return Code(_NOTHING, code.gram_ids, code.gram_values)
