"""Which examples the state holds, and with which targets: the journal seen as a set."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from everlearn.journal.journal import Journal
from everlearn.journal.records import Arrival
from everlearn.journal.standing import ChangeOf, targets_held
from everlearn.types import Example

__all__ = ["HeldTargets", "held_examples", "held_more_than_once"]


@dataclass(frozen=True, slots=True)
class _Turn:
    first: int
    last: int
    step: int


class HeldTargets:
    """Tells of each example whether the state after a step holds it, and with which target.

    Args:
        journal: The journal.
        until: The step; None: the newest.
        revision: Steps that a later revision than this has set aside counted then; None: all have been
            set aside that are.
    """

    def __init__(self, journal: Journal, until: int | None = None, revision: int | None = None) -> None:
        last = journal.last_step if until is None else until
        known = -1 if revision is None else revision
        counts = "(s.set_aside IS NULL OR (? >= 0 AND s.set_aside > ?))"
        rows = journal.database.rows(
            f"SELECT s.learned_first, s.learned_last, s.step FROM steps s "
            f"WHERE s.learned_first IS NOT NULL AND {counts} AND s.step <= ? ORDER BY s.learned_first",
            (known, known, last),
        )
        self._turns = [_Turn(*row) for row in rows]
        self._firsts = [one.first for one in self._turns]
        self._changes: dict[int, list[ChangeOf]] = {}
        for offset, *values in journal.database.rows(
            "SELECT c.offset, c.step, c.kind, c.previous, c.target FROM changes c "
            "JOIN steps s ON s.step = c.step "
            f"WHERE c.step <= ? AND ({counts} OR c.kind = 'pending') ORDER BY c.number",
            (last, known, known),
        ):
            self._changes.setdefault(offset, []).append(ChangeOf(*values))

    def __call__(self, offset: int, role: str, arrived_with: str | None) -> str | None:
        """The target with which the state holds an example; None: it does not.

        Args:
            offset: The example's.
            role: What it is for.
            arrived_with: The target that it came with.
        """
        held = self.all(offset, role, arrived_with)
        return held[-1] if held else None

    def all(self, offset: int, role: str, arrived_with: str | None) -> tuple[str, ...]:
        """As a call; more than one where the journal is unsound and the example was learned again."""
        turn = self._turn_of(offset) if role == "learn" else None
        changes = self._changes.get(offset)
        if changes is None:
            return () if turn is None or arrived_with is None else (arrived_with,)
        return targets_held(turn, arrived_with, changes)

    def _turn_of(self, offset: int) -> int | None:
        at = bisect_right(self._firsts, offset) - 1
        if at < 0 or self._turns[at].last < offset:
            return None
        return self._turns[at].step


def held_examples(
    journal: Journal,
    until: int | None = None,
    offsets: Sequence[int] | None = None,
    *,
    revision: int | None = None,
    with_codes: bool = True,
    generation: int | None = None,
) -> Iterator[tuple[int, Example]]:
    """Offsets and examples that the state holds, with the targets it holds them with.

    What an unsound journal holds twice comes twice: it was learned so, and is subtracted so.

    Args:
        journal: The journal.
        until: After this step; None: the newest.
        offsets: Only these; None: all.
        revision: See ``HeldTargets``.
        with_codes: Whether codes and texts are wanted; without them it is quicker.
        generation: Of the codes; None: the one that counts.
    """
    held = HeldTargets(journal, until, revision)
    if not with_codes and offsets is None:
        for offset, id_, role, arrived_with in journal.database.rows(
            "SELECT offset, id, role, target FROM examples ORDER BY offset"
        ):
            for target in held.all(offset, role, arrived_with):
                yield offset, Example(id=id_, target=target)
        return
    for offset, one in _arrivals(journal, offsets, generation):
        for target in held.all(offset, one.role, one.example.target):
            yield offset, one.example.with_target(target)


def held_more_than_once(journal: Journal) -> list[str]:
    """Ids of the examples that the state holds more than once; a sound journal has none."""
    held = HeldTargets(journal)
    # In turn nothing is learned twice: ranges of turns follow each other.
    rows = journal.database.rows(
        "SELECT e.offset, e.id, e.role, e.target FROM examples e WHERE e.offset IN "
        "(SELECT offset FROM changes WHERE kind <> 'pending') ORDER BY e.offset"
    )
    return [id_ for offset, id_, role, target in rows if len(held.all(offset, role, target)) > 1]


def _arrivals(
    journal: Journal, offsets: Sequence[int] | None, generation: int | None
) -> Iterator[tuple[int, Arrival]]:
    if offsets is None:
        yield from journal.arrivals(1, journal.next_offset - 1, generation)
        return
    for offset in offsets:
        yield from journal.arrivals(offset, offset, generation)
