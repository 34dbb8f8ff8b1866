"""The two exams that candidates sit: the recent past, and everything so far in equal parts.

Examples with the role ``exam`` are journaled and predicted like all others, but never learned. Both exams
are functions of the journal: the newest ones; and of each pair of class and domain those whose ids have
the smallest hashes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeVar

from everlearn.journal.journal import Journal
from everlearn.types import Example

__all__ = ["Chosen", "Exams", "balanced", "hash_share"]

_What = TypeVar("_What", str, int)

Chosen = tuple[int, str]
"""Offset and present target of an example that was chosen for an exam."""


def hash_share(id_: str, purpose: str) -> float:
    """A number in [0, 1) that is a function of the id: the same for every run, order and restart.

    >>> 0.0 <= hash_share("message-1", "exam") < 1.0
    True
    """
    key = purpose.encode()
    digest = blake2b(id_.encode("utf-8", "surrogatepass"), digest_size=8, key=key).digest()
    return int.from_bytes(digest, "little") / 2**64


class Exams:
    """Chooses the examples of both exams and keeps them in memory, which is bounded by their sizes.

    Args:
        journal: Holds them.
        recent: Size of the exam on the recent past.
        long_term: Size of the other.
    """

    def __init__(self, journal: Journal, recent: int, long_term: int) -> None:
        self._journal = journal
        self._num_recent = recent
        self._num_long_term = long_term
        self._loaded: dict[tuple[int, int], Example] = {}

    def choose(self) -> tuple[list[Chosen], list[Chosen]]:
        """The recent and the long-term exam, as of now."""
        recent: list[tuple[int, str]] = []
        groups: dict[tuple[str, str | None], list[tuple[float, int, str]]] = defaultdict(list)
        for offset, id_, domain, target in self._usable():
            recent.append((offset, target))
            groups[target, domain].append((hash_share(id_, "long-term"), offset, target))
        recent = recent[-self._num_recent :]
        long_term = balanced(list(groups.values()), self._num_long_term)
        wanted = {offset for offset, _ in [*recent, *long_term]}
        self._loaded = {key: one for key, one in self._loaded.items() if key[1] in wanted}
        return recent, long_term

    def since(self, first_offset: int) -> list[Chosen]:
        """All exam examples from an offset on."""
        return [(offset, target) for offset, _, _, target in self._usable() if offset >= first_offset]

    def examples(self, chosen: Sequence[Chosen], generations: Sequence[int]) -> list[list[Example]]:
        """The chosen examples with codes of each of these generations, as far as they have codes of all."""
        found: list[list[Example]] = [[] for _ in generations]
        are_several = len(set(generations)) > 1
        for offset, target in chosen:
            coded = [self._example(generation, offset) for generation in generations]
            if not are_several or all(one.code is not None for one in coded):
                for examples, one in zip(found, coded, strict=True):
                    examples.append(one.with_target(target))
        return found

    def _usable(self) -> list[tuple[int, str, str | None, str]]:
        """Offset, id, domain and present target of all exam examples that are not set aside."""
        rows = self._journal.database.all(
            "SELECT e.offset, e.id, e.domain, COALESCE((SELECT c.target FROM changes c "
            "WHERE c.offset = e.offset ORDER BY c.number DESC LIMIT 1), e.target) AS present "
            "FROM examples e JOIN steps s ON s.step = e.step "
            "WHERE e.role = 'exam' AND s.set_aside IS NULL AND present IS NOT NULL ORDER BY e.offset"
        )
        return [(offset, id_, domain, target) for offset, id_, domain, target in rows]

    def _example(self, generation: int, offset: int) -> Example:
        key = (generation, offset)
        if key not in self._loaded:
            example = self._journal.example_at(offset, generation)
            assert example is not None, "the query named it"
            self._loaded[key] = example
        return self._loaded[key]


def balanced(groups: list[list[tuple[float, int, _What]]], size: int) -> list[tuple[int, _What]]:
    """At most ``size`` members, as many as possible of the smallest groups, in order of offset."""
    for group in groups:
        group.sort()
    groups.sort(key=len)
    chosen: list[tuple[int, _What]] = []
    for k, group in enumerate(groups):
        room = (size - len(chosen)) // (len(groups) - k)
        chosen += [(offset, target) for _, offset, target in group[:room]]
    return sorted(chosen)
