"""How an example stands: held by the state, waiting for its turn, or neither. Nothing else says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["ChangeOf", "Standing", "targets_held"]


@dataclass(frozen=True, slots=True)
class ChangeOf:
    """A change of one example that counts, or that came while it waited.

    Attributes:
        step: The step that made it.
        kind: See ``everlearn.journal.records.ChangeKind``.
        previous: The target before.
        target: The target since.
    """

    step: int
    kind: str
    previous: str | None
    target: str


@dataclass(frozen=True, slots=True)
class Standing:
    """How an example stands after the newest step.

    Attributes:
        targets: The targets with which the state holds it: one, or none where it does not.
        is_waiting: Whether its turn to be learned is still to come.
    """

    targets: tuple[str, ...]
    is_waiting: bool

    @property
    def is_held(self) -> bool:
        """Whether the state holds it."""
        return bool(self.targets)

    @property
    def is_out(self) -> bool:
        """Whether the state does not hold it and will not by itself: only this may be learned out of turn."""
        return not self.targets and not self.is_waiting


def targets_held(turn: int | None, arrived_with: str | None, changes: Sequence[ChangeOf]) -> tuple[str, ...]:
    """The targets with which the state holds an example: the fold of what became of it, step by step.

    A sound journal gives one or none. Two mean that it was learned twice.

    Args:
        turn: The step that learned it in turn; None: none that counts did.
        arrived_with: The target that it came with.
        changes: What was learned of it out of turn, in order.
    """
    out_of_turn = [change for change in changes if change.kind != "pending"]
    in_turn = arrived_with
    if turn is not None:
        for change in changes:
            if change.kind == "pending" and change.step <= turn:
                in_turn = change.target
    steps = {change.step for change in out_of_turn}
    held: list[str] = []
    for step in sorted(steps if turn is None else steps | {turn}):
        # Several of one step are made as one: what was held before the first, and what the last one says.
        of_step = [change for change in out_of_turn if change.step == step]
        if of_step and of_step[0].kind == "correction" and of_step[0].previous in held:
            held.remove(of_step[0].previous)
        if step == turn and in_turn is not None:
            held.append(in_turn)
        if of_step:
            held.append(of_step[-1].target)
    return tuple(held)
