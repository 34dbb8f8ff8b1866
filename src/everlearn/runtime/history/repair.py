"""``journal repair``: what can be read of a damaged journal is brought into a new one."""

from __future__ import annotations

from pathlib import Path

from everlearn.journal.durable_files import storage_errors
from everlearn.journal.lock import acquire_lock
from everlearn.journal.repair.outcome import Repair
from everlearn.journal.repair.repair import repair_journal
from everlearn.runtime.folder.run_folder import CHECKPOINTS, JOURNAL, RunFolder
from everlearn.runtime.folder.run_record import read_record
from everlearn.types import Json

__all__ = ["repair_json", "repair_run"]


def repair_run(path: Path) -> Repair:
    """Repair the journal of a run, under its lock. The damaged files are kept beside it.

    What is lost up to the newest usable checkpoint is in the state still; what is lost after it is taken
    back, so that ``learn`` reads it from its stream again.

    Raises:
        RunError: Not a run folder, or in use.
        StateError: ``run.json`` is damaged, or nothing of the journal can be read. Nothing was changed.
        StorageError: The new journal cannot be written. Nothing was changed.
    """
    read_record(path / "run.json")
    with storage_errors(path, "Nothing was changed."):
        lock = acquire_lock(path)
        try:
            repair = repair_journal(path / JOURNAL, path / CHECKPOINTS)
        finally:
            lock.close()
    if repair.is_needed:
        RunFolder.open_to_write(path).close()  # it opens, or the damage is told
    return repair


def repair_json(repair: Repair) -> dict[str, Json]:
    """As printed by ``journal repair --json``."""
    return {
        "damaged": repair.is_needed,
        "rows": {
            table: {"kept": rows.num_kept, "lost": rows.num_lost} for table, rows in repair.tables.items()
        },
        "last_step": repair.last_step,
        "steps_taken_back": repair.num_steps_taken_back,
        "examples_taken_back": repair.num_examples_taken_back,
        "lost_steps": repair.lost_steps,
        "kept_aside": [str(path) for path in repair.damaged_copies],
        "notes": list(repair.notes),
    }
