"""What a salvaged journal lacks: which steps cannot be made again, and how many rows are missing where."""

from __future__ import annotations

from dataclasses import dataclass, field

from everlearn.journal.chain import step_holds
from everlearn.journal.database import Database
from everlearn.journal.journal import Journal
from everlearn.journal.repair.damaged_tables import Unread
from everlearn.journal.repair.losses import lost_steps

__all__ = ["Losses", "find_losses"]

_COUNTED_BY_KEY = (
    "changes",
    "revisions",
    "versions",
    "decisions",
    "sources",
    "rejections",
    "flags",
    "generations",
    "certificates",
    "acts",
)


@dataclass(slots=True)
class Losses:
    """Steps of which something is missing.

    Attributes:
        steps: They cannot be made again.
        thinned: They can, but words or predictions of their examples are missing.
        missing: Rows that are missing, by table.
    """

    steps: set[int] = field(default_factory=set)
    thinned: set[int] = field(default_factory=set)
    missing: dict[str, int] = field(default_factory=dict)


def find_losses(journal: Journal, unread: dict[str, Unread]) -> Losses:
    """Compare what could be read with what the steps say that there was.

    Args:
        journal: The new journal.
        unread: What of the damaged one's tables could not be read.
    """
    database = journal.database
    losses = Losses(missing=dict.fromkeys(unread, 0))
    known = set(lost_steps(journal))
    newest = max(
        int(database.one(f"SELECT COALESCE(MAX(step), 0) FROM {table}")[0])
        for table in ("steps", "examples", "changes", "checkpoints")
    )
    ranges = {row[0]: row[1:] for row in database.rows("SELECT step, first_offset, last_offset FROM steps")}
    for step in range(1, newest + 1):
        if step not in ranges:
            losses.missing["steps"] += step not in known
            losses.steps.add(step)
            continue
        first, last = ranges[step]
        missing = _missing(database, first, last, unread) if first is not None else {}
        holds = step_holds(database, step)
        if holds is None and step not in known:
            holds = not (missing.get("examples") or missing.get("codes"))
        if holds is False:
            losses.steps.add(step)
            for table in ("examples", "codes"):
                losses.missing[table] += len(missing.get(table, ()))
        for table in ("texts", "predictions"):
            losses.missing[table] += len(missing.get(table, ()))
            if missing.get(table):
                losses.thinned.add(step)
    losses.steps |= _steps_of_lost_changes(database, unread["changes"], newest)
    uncoded = _steps_without_tuned_codes(journal)
    losses.steps |= set(uncoded)
    losses.missing["tuned_codes"] = sum(uncoded.values())
    for table in _COUNTED_BY_KEY:
        losses.missing[table] = len(unread[table].keys)
    for table in ("meta", "deleted", "checkpoints"):
        losses.missing[table] = int(unread[table].has_open_end)
    return losses


def _steps_without_tuned_codes(journal: Journal) -> dict[int, int]:
    """Steps that count, with examples that lack their code of the generation that counts, and how many."""
    found: dict[int, int] = {}
    if journal.generation:
        for step in journal.steps_after(0):
            if step.arrived is not None and step.set_aside is None:
                came = journal.examples.arrivals(*step.arrived)
                count = sum(arrival.example.code is None for _, arrival in came)
                if count:
                    found[step.step] = count
    return found


def _missing(database: Database, first: int, last: int, unread: dict[str, Unread]) -> dict[str, set[int]]:
    """Offsets of a step's examples that are missing without having been deleted, by table."""
    everything = set(range(first, last + 1))
    present = {
        table: {
            row[0]
            for row in database.rows(
                f"SELECT offset FROM {table} WHERE offset BETWEEN ? AND ?", (first, last)
            )
        }
        for table in ("examples", "codes", "texts", "predictions")
    }
    examples = present["examples"]
    covered = database.first(
        "SELECT 1 FROM revisions r JOIN examples e ON e.step BETWEEN r.first_step AND r.last_step "
        "WHERE r.kind = 'deletion' AND e.offset BETWEEN ? AND ? LIMIT 1",
        (first, last),
    )
    gone = everything - examples
    missing = {"examples": gone & unread["examples"].keys if covered else gone}
    for table in ("codes", "texts", "predictions"):
        # All of a step's examples have one, or none has.
        absent = examples - present[table]
        missing[table] = absent if present[table] else absent & unread[table].keys
    return missing


def _steps_of_lost_changes(database: Database, unread: Unread, newest: int) -> set[int]:
    """Steps that a lost change may have belonged to: changes are numbered in the order of steps."""
    found = set()
    for number in unread.keys:
        before = database.one("SELECT COALESCE(MAX(step), 1) FROM changes WHERE number < ?", (number,))[0]
        after = database.one("SELECT COALESCE(MIN(step), ?) FROM changes WHERE number > ?", (newest, number))[
            0
        ]
        found |= {step for step in range(before, after + 1) if step_holds(database, step) is not True}
    return found
