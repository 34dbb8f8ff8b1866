"""Examples that wait until it is their turn to be learned."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from everlearn.journal.journal import Journal
from everlearn.journal.records import Change, Role
from everlearn.journal.standing.learnable import unlearned_since
from everlearn.types import Example

__all__ = ["DueQueue"]


class DueQueue:
    """Examples that wait until it is their turn to be learned.

    Args:
        delay: Examples that come between an example and its turn.
        waiting: Offsets and examples that wait already, in order.
        learned_up_to: Offset of the last one that had its turn.
    """

    def __init__(self, delay: int, waiting: Sequence[tuple[int, Example]], learned_up_to: int) -> None:
        self._delay = delay
        self._waiting = OrderedDict(waiting)
        self._learned_up_to = learned_up_to

    @classmethod
    def of(cls, journal: Journal, delay: int) -> DueQueue:
        """What waits in a journal."""
        learned_up_to = journal.standings.last_learned_in_turn
        return cls(delay, unlearned_since(journal, learned_up_to + 1), learned_up_to)

    def __len__(self) -> int:
        return len(self._waiting)

    def push(
        self, arrived: Sequence[tuple[int, Example]], last_offset: int
    ) -> tuple[list[Example], tuple[int, int] | None]:
        """Take examples in; returns those whose turn it is, and the range of offsets they lie in.

        Args:
            arrived: Offsets and examples.
            last_offset: Of the last example that came, also of those that are not to be learned.
        """
        self._waiting.update(arrived)
        due = [self._waiting.popitem(last=False) for _ in range(len(self._waiting) - self._delay)]
        return self._released(due, None if self._waiting else last_offset)

    def flush(self, limit: int) -> tuple[list[Example], tuple[int, int] | None]:
        """Release at most ``limit`` examples although their time has not come."""
        due = [self._waiting.popitem(last=False) for _ in range(min(limit, len(self._waiting)))]
        return self._released(due, None)

    def targets(self) -> set[str]:
        """The targets of all that wait."""
        return {example.target for example in self._waiting.values() if example.target is not None}

    def correct(self, offset: int, target: str) -> None:
        """Give a waiting example another target."""
        if offset in self._waiting:
            self._waiting[offset] = self._waiting[offset].with_target(target)

    def take_targets(self, changes: Sequence[Change], new_roles: Mapping[int, Role]) -> list[Change]:
        """Give waiting examples the targets that came for them.

        Args:
            changes: Targets for examples that came before, or earlier in the same batch.
            new_roles: The roles of that batch's examples, by offset.

        Returns:
            The changes, as they are journaled.
        """
        result = []
        for change in changes:
            if new_roles.get(change.offset, "learn") != "learn":
                change = replace(change, kind="pending")  # it is not learned, so nothing is corrected
            if change.kind == "pending":
                self.correct(change.offset, change.target)
            result.append(change)
        return result

    def _released(
        self, due: Sequence[tuple[int, Example]], last_offset: int | None
    ) -> tuple[list[Example], tuple[int, int] | None]:
        if not due:
            return [], None
        first, last = self._learned_up_to + 1, due[-1][0] if last_offset is None else last_offset
        self._learned_up_to = last
        return [example for _, example in due], (first, last)
