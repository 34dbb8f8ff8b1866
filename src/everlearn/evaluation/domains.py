"""How many domains of a stream have figures of their own: a stream may bear a name for every customer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import nlargest
from typing import Generic, TypeVar

__all__ = ["MAX_DOMAINS", "OTHER_DOMAINS", "ByDomain"]

MAX_DOMAINS = 256
OTHER_DOMAINS = "(other domains)"

Tally = TypeVar("Tally")


class ByDomain(Generic[Tally]):
    """A tally for each of the first domains, and one for all others together.

    Args:
        make: Makes an empty tally.
        limit: So many have their own; None: all.
    """

    def __init__(self, make: Callable[[], Tally], limit: int | None = MAX_DOMAINS) -> None:
        self._make = make
        self._limit = limit
        self._tallies: dict[str, Tally] = {}

    def __len__(self) -> int:
        return len(self._tallies)

    def __getitem__(self, domain: str) -> Tally:
        """The tally that a domain is counted in."""
        name = domain
        if domain not in self._tallies and self._limit is not None and len(self._tallies) >= self._limit:
            name = OTHER_DOMAINS
        if name not in self._tallies:
            self._tallies[name] = self._make()
        return self._tallies[name]

    def items(self) -> Iterator[tuple[str, Tally]]:
        """Names and tallies, in order of appearance."""
        return iter(self._tallies.items())

    def values(self) -> Iterator[Tally]:
        """The tallies."""
        return iter(self._tallies.values())

    def largest(self, num: int | None, size: Callable[[Tally], int]) -> list[tuple[str, Tally]]:
        """The ``num`` of largest size, the largest first; None: all, in order of appearance."""
        if num is None:
            return list(self._tallies.items())
        return nlargest(num, self._tallies.items(), key=lambda item: size(item[1]))

    def put(self, domain: str, tally: Tally) -> None:
        """Enter a saved tally."""
        self._tallies[domain] = tally
