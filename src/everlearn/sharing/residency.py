"""What is kept in memory where not all can be: by recent use, cost to bring back, and size.

Greedy-Dual-Size-Frequency (Cherkasova 1998, HP Laboratories HPL-98-69): each thing has the priority

    clock + uses · cost / size

and the one with the least goes first; the clock is then set to its priority, so what is not used any more
falls behind by itself. With equal costs and sizes that lies between least recently and least often used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from everlearn.errors import ConfigError

__all__ = ["Residency"]

T = TypeVar("T")


@dataclass(slots=True)
class _Entry(Generic[T]):
    value: T
    num_bytes: int
    cost: float
    uses: int
    priority: float


class Residency(Generic[T]):
    """Things by name, as many as fit. It knows nothing of locks; its owner does.

    Args:
        budget: Bytes of all together; None: no bound. What is larger than all of it is not kept.
    """

    def __init__(self, budget: int | None) -> None:
        if budget is not None and budget <= 0:
            raise ConfigError(f"a memory budget of {budget} bytes holds nothing")
        self._budget = budget
        self._entries: dict[str, _Entry[T]] = {}
        self._clock = 0.0
        self._uses: dict[str, int] = {}  # of those that are gone, too: what was popular is so again
        self.num_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def names(self) -> list[str]:
        """What is kept, sorted."""
        return sorted(self._entries)

    def get(self, name: str) -> T | None:
        """A thing, which counts as used; None: it is not kept."""
        entry = self._entries.get(name)
        if entry is None:
            return None
        entry.uses += 1
        entry.priority = self._clock + entry.uses * entry.cost / entry.num_bytes
        return entry.value

    def put(self, name: str, value: T, num_bytes: int, cost: float) -> list[T]:
        """Keep a thing, in place of what had its name, and say what had to go: others, or it itself.

        Args:
            name: Its name.
            value: What it is.
            num_bytes: Its size.
            cost: Of bringing it back, in any unit, the same for all.
        """
        before = self._entries.get(name)
        uses = self._uses.pop(name, 0) + 1 if before is None else before.uses
        self.drop(name, keep_uses=False)
        size = max(1, num_bytes)
        if self._budget is not None and size > self._budget:
            return [value]
        self._entries[name] = _Entry(value, size, cost, uses, self._clock + uses * cost / size)
        self.num_bytes += size
        gone = []
        while self._budget is not None and self.num_bytes > self._budget:
            least = min((other for other in self._entries if other != name), key=self._priority)
            self._clock = max(self._clock, self._priority(least))
            gone.append(self._entries[least].value)
            self.drop(least)
        return gone

    def drop(self, name: str, *, keep_uses: bool = True) -> T | None:
        """Keep a thing no longer; None: it was not kept."""
        entry = self._entries.pop(name, None)
        if entry is None:
            return None
        self.num_bytes -= entry.num_bytes
        if keep_uses:
            self._uses[name] = entry.uses // 2
        return entry.value

    def _priority(self, name: str) -> float:
        return self._entries[name].priority
