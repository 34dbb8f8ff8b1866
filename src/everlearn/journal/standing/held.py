"""Which examples the state holds, and with which targets: the journal seen as a set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from everlearn.journal.journal import Journal
from everlearn.journal.records import Arrival
from everlearn.journal.standing.standing import ChangeOf, targets_held
from everlearn.types import Example

__all__ = ["HeldTargets", "held_examples", "held_more_than_once"]


_OFFSETS_AT_ONCE = 1_024


@dataclass(frozen=True, slots=True)
class _Turn:
    first: int
    last: int
    step: int | None


class HeldTargets:
    """Tells of each example whether the state after a step holds it, and with which target.

    It takes no room that grows with the journal, and of one example it is told in constant time, nearly.

    Args:
        journal: The journal.
        until: The step; None: the newest.
        revision: Steps that a later revision than this has set aside counted then; None: all have been
            set aside that are.
    """

    def __init__(self, journal: Journal, until: int | None = None, revision: int | None = None) -> None:
        self._database = journal.database
        self._until = journal.last_step if until is None else until
        self._known = -1 if revision is None else revision
        # What was asked of is remembered a little: examples are asked of one after the other.
        self._turn = _Turn(0, -1, None)
        self._loaded = range(-2 * _OFFSETS_AT_ONCE, -_OFFSETS_AT_ONCE)
        self._changes: dict[int, list[ChangeOf]] = {}

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
        changes = self._changes_of(offset)
        if changes is None:
            return () if turn is None or arrived_with is None else (arrived_with,)
        return targets_held(turn, arrived_with, changes)

    def _turn_of(self, offset: int) -> int | None:
        if not self._turn.first <= offset <= self._turn.last:
            row = self._database.first(
                "SELECT learned_first, learned_last, step, set_aside FROM steps WHERE learned_last >= ? "
                "ORDER BY learned_last LIMIT 1",
                (offset,),
            )
            if row is None or row[0] > offset:
                return None
            first, last, step, set_aside = row
            counts = set_aside is None or 0 <= self._known < set_aside
            self._turn = _Turn(first, last, step if counts and step <= self._until else None)
        return self._turn.step

    def _changes_of(self, offset: int) -> list[ChangeOf] | None:
        if offset not in self._loaded:
            follows = 0 <= offset - self._loaded.stop < _OFFSETS_AT_ONCE
            self._loaded = range(offset, offset + (_OFFSETS_AT_ONCE if follows else 1))
            self._changes = {}
            for at, *values in self._database.rows(
                "SELECT c.offset, c.step, c.kind, c.previous, c.target FROM changes c "
                "JOIN steps s ON s.step = c.step WHERE c.offset BETWEEN ?1 AND ?2 AND c.step <= ?3 AND "
                "(s.set_aside IS NULL OR (?4 >= 0 AND s.set_aside > ?4) OR c.kind = 'pending') "
                "ORDER BY c.offset, c.number",
                (offset, self._loaded.stop - 1, self._until, self._known),
            ):
                self._changes.setdefault(at, []).append(ChangeOf(*values))
        return self._changes.get(offset)


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
    for offset, arrival in _arrivals(journal, offsets, generation):
        for target in held.all(offset, arrival.role, arrival.example.target):
            yield offset, arrival.example.with_target(target)


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
        yield from journal.examples.arrivals(1, journal.next_offset - 1, generation)
        return
    for offset in offsets:
        yield from journal.examples.arrivals(offset, offset, generation)
