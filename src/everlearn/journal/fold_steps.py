"""What a fold needs of a step, read from the journal as it was when the step was made."""

from __future__ import annotations

from collections.abc import Sequence

from everlearn.errors import StateError
from everlearn.journal.chain import step_holds
from everlearn.journal.database import REPAIR_ADVICE
from everlearn.journal.journal import Journal
from everlearn.journal.records import Arrival, Change, FoldStep, Step
from everlearn.journal.rows.example_rows import verified
from everlearn.types import Example

__all__ = ["changes_of", "fold_step"]


def fold_step(journal: Journal, step: Step) -> FoldStep:
    """Everything that a fold needs of a step.

    Raises:
        StateError: A row of it was changed on the disk, or is missing without having been deleted.
    """
    if step_holds(journal.database, step.step) is False:
        raise StateError(
            f"the journal is damaged: something that came with step {step.step:,} is missing. {REPAIR_ADVICE}"
        )
    arrivals = [] if step.arrived is None else list(journal.examples.arrivals(*step.arrived))
    learned: list[Example] = []
    if step.learned is not None:
        due = arrivals if step.learned == step.arrived else journal.examples.arrivals(*step.learned)
        learned = _as_of(journal, step, [arrival for arrival in due if arrival[1].role == "learn"])
    forgotten = []
    num_late_targets = 0
    changed: dict[int, list[Change]] = {}
    for change in changes_of(journal, step.step):
        if change.kind != "pending":
            changed.setdefault(change.offset, []).append(change)
    for offset, changes in changed.items():
        example = journal.examples.at(offset)
        if example is None:  # deleted since
            continue
        # Several in one step: what was held before the first, and what the last one says.
        if changes[0].kind == "correction":
            forgotten.append(example.with_target(changes[0].previous))
        num_late_targets += changes[0].kind == "target" and _was_passed_over(journal, offset)
        learned.append(example.with_target(changes[-1].target))
    return FoldStep(
        step=step,
        arrivals=[arrival for _, arrival in arrivals],
        forgotten=forgotten,
        learned=learned,
        num_late_targets=num_late_targets,
    )


def changes_of(journal: Journal, step: int) -> list[Change]:
    """What a step learned out of turn."""
    rows = journal.database.rows(
        "SELECT number, step, offset, kind, previous, target, crc FROM changes WHERE step = ? "
        "ORDER BY number",
        (step,),
    )
    return [Change(*verified(row, "changes")[2:]) for row in rows]  # type: ignore[arg-type]


def _was_passed_over(journal: Journal, offset: int) -> bool:
    """Whether the turn of an example that is not held counts: it was passed over then, without a target.

    Not so where that step was set aside, though another target is learned then as one that comes late is.
    """
    row = journal.database.first(
        "SELECT learned_first, set_aside FROM steps WHERE learned_last >= ? ORDER BY learned_last LIMIT 1",
        (offset,),
    )
    return row is not None and row[0] <= offset and row[1] is None


def _as_of(journal: Journal, step: Step, arrivals: Sequence[tuple[int, Arrival]]) -> list[Example]:
    """Examples learned in turn, with the targets that they had by then."""
    if not arrivals:
        return []
    changed: dict[int, str] = dict(
        journal.database.rows(
            "SELECT offset, target FROM changes WHERE offset BETWEEN ? AND ? AND kind = 'pending' "
            "AND step <= ? ORDER BY number",
            (arrivals[0][0], arrivals[-1][0], step.step),
        )
    )
    return [
        arrival.example.with_target(changed.get(offset, arrival.example.target))
        for offset, arrival in arrivals
    ]
