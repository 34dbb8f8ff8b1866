"""What a repair did, and how it is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from everlearn.journal.repair.damaged_tables import Unread
from everlearn.journal.repair.missing_rows import Losses

__all__ = ["Repair", "TableLoss", "sentences"]


@dataclass(frozen=True, slots=True)
class TableLoss:
    """Rows of a table.

    Attributes:
        num_kept: In the new journal.
        num_lost: Damaged or missing, as far as can be told.
    """

    num_kept: int
    num_lost: int


@dataclass(slots=True, kw_only=True)
class Repair:
    """What a repair did.

    Attributes:
        is_needed: Whether anything was damaged; if not, nothing was done.
        tables: Rows kept and lost, by table.
        last_step: The newest step of the repaired journal.
        num_steps_taken_back: Steps after it that were taken out, to be made again from their stream.
        num_examples_taken_back: Examples that had come with them.
        lost_steps: Steps up to the newest usable checkpoint of which something is lost.
        num_examples_held: Examples that came with those steps, lost or not, and are in the state.
        damaged_copies: Of the damaged files.
        notes: All that, and what follows from it, in sentences.
    """

    is_needed: bool = True
    tables: dict[str, TableLoss] = field(default_factory=dict)
    last_step: int = 0
    num_steps_taken_back: int = 0
    num_examples_taken_back: int = 0
    lost_steps: list[int] = field(default_factory=list)
    num_examples_held: int = 0
    damaged_copies: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def has_lost_all(self) -> bool:
        """Whether nothing that was learned could be read any more."""
        found = (self.tables.get(table) for table in ("steps", "examples"))
        return self.is_needed and not any(rows.num_kept for rows in found if rows is not None)


def sentences(repair: Repair, losses: Losses, unread: Mapping[str, Unread]) -> list[str]:
    """What is lost, and what follows from it."""
    notes = []
    lost = [f"{rows.num_lost:,} of {table}" for table, rows in repair.tables.items() if rows.num_lost]
    kept = sum(rows.num_kept for rows in repair.tables.values())
    told = ", ".join(lost) if lost else "none that is known"
    notes.append(f"{kept:,} rows could be read and match their checksums; lost: {told}.")
    if repair.has_lost_all:
        notes.append(
            "No step and no example is left, and nothing says how many there were. Restore the run from a "
            "copy."
        )
    if repair.num_steps_taken_back or repair.num_examples_taken_back:
        notes.append(
            f"Something of step {repair.last_step + 1:,} is lost, and no saved state holds it. The journal "
            f"goes on after step {repair.last_step:,}: {repair.num_steps_taken_back:,} later steps that were "
            f"still there, with {repair.num_examples_taken_back:,} examples, were taken out. "
            "`everlearn learn` with the same stream reads them again, if the stream can be read again."
        )
    if repair.lost_steps:
        notes.append(
            f"Something of {_steps(repair.lost_steps)} is lost (at most {repair.num_examples_held:,} "
            "examples). The saved state holds them, so predictions are as before; but they cannot be folded "
            "again, and examples of these steps cannot be forgotten any more. Copy the newest checkpoint: "
            "nothing could replace it."
        )
    num_thinned = len(losses.thinned - losses.steps)
    if num_thinned and not repair.num_steps_taken_back:
        notes.append(
            f"Texts or predictions of {num_thinned:,} steps are lost. No closed-form state depends on them."
        )
    if losses.missing["revisions"]:
        notes.append(
            f"The records of {losses.missing['revisions']:,} deletions or rollbacks are lost: states from "
            "before them are not used."
        )
    if losses.missing["deleted"]:
        notes.append(
            "The list of deleted ids is damaged: an example that was deleted may be taken again when it "
            "comes again."
        )
    if losses.missing["meta"]:
        notes.append("Single values (which version is served, and the like) may be lost.")
    if any(unread[table].has_open_end for table in ("changes", "versions", "decisions", "rejections")):
        notes.append(
            "Further rows may be lost at the end of a table, where nothing says how many there were."
        )
    return notes


def _steps(numbers: Sequence[int]) -> str:
    if len(numbers) == 1:
        return f"step {numbers[0]:,}"
    return f"{len(numbers):,} steps between {numbers[0]:,} and {numbers[-1]:,}"
