"""How each example of a journal stands after the newest step."""

from __future__ import annotations

from everlearn.journal.database import Database
from everlearn.journal.standing.standing import ChangeOf, Standing, targets_held

__all__ = ["Standings"]

_CHANGE_COUNTS = "(s.set_aside IS NULL OR c.kind = 'pending')"


class Standings:
    """Asked of one example at a time; ``HeldTargets`` is quicker for many.

    Args:
        database: The journal's.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, offset: int, role: str, arrived_with: str | None) -> Standing:
        """How an example stands: held, waiting for its turn, or neither.

        Args:
            offset: The example's.
            role: What it is for.
            arrived_with: The target that it came with.
        """
        turn = self._turn_of(offset) if role == "learn" else None
        changes = self._database.all(
            "SELECT c.step, c.kind, c.previous, c.target FROM changes c JOIN steps s ON s.step = c.step "
            f"WHERE c.offset = ? AND {_CHANGE_COUNTS} ORDER BY c.number",
            (offset,),
        )
        return Standing(
            targets=targets_held(
                None if turn is None or turn[1] else turn[0],
                arrived_with,
                [ChangeOf(*values) for values in changes],
            ),
            is_waiting=role == "learn" and offset > self.last_learned_in_turn,
        )

    def present_target(
        self, offset: int, arrived_with: str | None, *, and_of: int | None = None
    ) -> str | None:
        """The target that an example has now; what came with steps that are set aside does not count.

        Args:
            offset: The example's.
            arrived_with: The target that it came with.
            and_of: What this revision has set aside counts too.
        """
        row = self._database.first(
            "SELECT c.target FROM changes c JOIN steps s ON s.step = c.step "
            f"WHERE c.offset = ? AND ({_CHANGE_COUNTS} OR s.set_aside = ?) ORDER BY c.number DESC LIMIT 1",
            (offset, and_of),
        )
        return row[0] if row else arrived_with

    def learned_in(self, offset: int, role: str, arrived_with: str | None) -> list[tuple[int, bool]]:
        """The steps that learned an example, and whether each was set aside."""
        found: list[tuple[int, bool]] = []
        turn = self._turn_of(offset) if role == "learn" else None
        if turn is not None:
            pending = self._database.first(
                "SELECT target FROM changes WHERE offset = ? AND kind = 'pending' AND step <= ? "
                "ORDER BY number DESC LIMIT 1",
                (offset, turn[0]),
            )
            if arrived_with is not None or pending is not None:
                found.append(turn)
        found += [
            (step, set_aside is not None)
            for step, set_aside in self._database.rows(
                "SELECT c.step, s.set_aside FROM changes c JOIN steps s ON s.step = c.step "
                "WHERE c.offset = ? AND c.kind <> 'pending' ORDER BY c.number",
                (offset,),
            )
        ]
        return found

    @property
    def last_learned_in_turn(self) -> int:
        """Offset of the last example that was learned in turn; 0: none was."""
        return int(self._database.one("SELECT COALESCE(MAX(learned_last), 0) FROM steps")[0])

    def _turn_of(self, offset: int) -> tuple[int, bool] | None:
        """The step in which it was an example's turn, and whether it was set aside; None: it is to come."""
        row = self._database.first(
            "SELECT step, learned_first, set_aside FROM steps WHERE learned_last >= ? "
            "ORDER BY learned_last LIMIT 1",
            (offset,),
        )
        return None if row is None or row[1] > offset else (row[0], row[2] is not None)
