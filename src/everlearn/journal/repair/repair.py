"""Repair of a damaged journal: every row that can be read goes into a new file, and what is lost is told.

The new journal is a fold again from its newest usable checkpoint on. What was lost before that is in the
state, but cannot be folded or forgotten any more; what was lost after it is taken back, together with
everything later, so that the stream is read again from there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from everlearn.errors import StateError
from everlearn.journal.chain import step_holds
from everlearn.journal.checkpoints import CheckpointStore
from everlearn.journal.checksums import canonical_json, checksum
from everlearn.journal.database import Database, Row
from everlearn.journal.generations import generation_at, read_switches
from everlearn.journal.journal import Journal
from everlearn.journal.opening import sound_parts
from everlearn.journal.repair.damaged_copies import keep_damaged
from everlearn.journal.repair.damaged_tables import DamagedFile, Unread, with_new_first_page
from everlearn.journal.repair.losses import lost_steps, record_incident
from everlearn.journal.repair.missing_rows import Losses, find_losses
from everlearn.journal.repair.outcome import Repair, TableLoss, sentences
from everlearn.journal.repair.replacement import finish_replacement, replace_journal
from everlearn.journal.write_ahead_log import inspect_log

__all__ = ["repair_journal"]

_NUMBERED = {
    "steps": "step",
    "examples": "offset",
    "codes": "offset",
    "texts": "offset",
    "predictions": "offset",
    "flags": "offset",
    "changes": "number",
    "revisions": "revision",
    "versions": "version",
    "decisions": "decision",
    "sources": "source",
    "rejections": "number",
    "generations": "generation",
    "tuned_codes": "number",
    "certificates": "revision",
    "acts": "number",
}
_NAMED = {"meta": "key", "deleted": "digest", "checkpoints": "file"}
_WITHOUT_CHECKSUM = frozenset({"sources", "rejections", "flags"})
_OF_EXAMPLES = ("codes", "texts", "predictions", "flags")
_NEEDED = frozenset({"examples", "steps", "checkpoints"})


def repair_journal(path: Path, checkpoints: Path) -> Repair:
    """Bring everything of a journal that can be read into a new one, and put that in its place.

    Args:
        path: The journal; nobody may be writing it.
        checkpoints: The folder of its checkpoints.

    Raises:
        StateError: Not even the tables can be found. Nothing was changed.
    """
    finish_replacement(path)
    if not path.is_file():
        raise StateError(f"{path} is missing. Restore it from a copy of the run.")
    temporary = path.with_name(f".{path.name}.repair.tmp")
    first_page_copy = path.with_name(f".{path.name}.page.tmp")
    try:
        with_log, alone = sound_parts(path)
        log = inspect_log(path)
        if with_log.problem is None and not log.damage and _is_whole(path):
            return Repair(is_needed=False, last_step=with_log.last_step, notes=["Nothing is damaged."])
        uses_log = (
            with_log.last_step >= alone.last_step if with_log.problem is None else alone.problem is not None
        )
        source = DamagedFile(path, with_log=uses_log)
        if not source.tables() >= _NEEDED:
            source.close()
            with_new_first_page(path, first_page_copy)
            source = DamagedFile(first_page_copy, with_log=False)
        try:
            repair = _salvaged(source, temporary, checkpoints)
        finally:
            source.close()
        wal = path.with_name(f"{path.name}-wal")
        files = (file for file in (path, wal) if file.is_file() and file.stat().st_size)
        repair.damaged_copies = [keep_damaged(file) for file in files]
        if log.damage:
            repair.notes.insert(0, f"The write-ahead log was damaged too: {log.damage}.")
        kept = " and ".join(str(copy) for copy in repair.damaged_copies)
        repair.notes.append(
            f"The damaged files are kept as {kept}. They hold examples: the next `everlearn forget` deletes "
            "them."
        )
        replace_journal(path, temporary)
    finally:
        for made in (temporary, first_page_copy):
            for suffix in ("", "-wal", "-shm"):
                made.with_name(f"{made.name}{suffix}").unlink(missing_ok=True)
    return repair


def _is_whole(path: Path) -> bool:
    """Whether every row of a journal whose pages are sound matches its checksum, and every step its chain."""
    damaged = DamagedFile(path, with_log=True)
    try:
        unread = Unread()
        present = damaged.tables()
        for table, key in _NUMBERED.items():
            if table not in present:
                continue  # of an older format
            rows = damaged.numbered_rows(table, key, unread, has_checksum=table not in _WITHOUT_CHECKSUM)
            for _ in rows:
                pass
    finally:
        damaged.close()
    if unread.keys or unread.has_open_end:
        return False
    with Journal(Database.open_to_check(path, with_log=True)) as journal:
        known = set(lost_steps(journal))
        return all(
            step in known or step_holds(journal.database, step) is not False
            for step in range(1, journal.last_step + 1)
        )


def _salvaged(source: DamagedFile, temporary: Path, checkpoints: Path) -> Repair:
    database = Database.create(temporary)
    try:
        unread = _copy(source, database)
        repair = Repair()
        with database.transaction():
            _fill_in(database, unread)
            journal = Journal(database)
            losses = find_losses(journal, unread)
            repair.tables = _tables(database, losses)
            _draw_consequences(repair, journal, checkpoints, losses)
            repair.notes += sentences(repair, losses, unread)
            record_incident(journal, repair.notes, repair.lost_steps)
        database.empty_log()
    finally:
        database.close()
    return repair


# Copying


def _copy(source: DamagedFile, into: Database) -> dict[str, Unread]:
    unread = {table: Unread() for table in (*_NUMBERED, *_NAMED)}
    highest = 0
    present = source.tables()
    for table, key in _NUMBERED.items():
        if table not in present:
            continue  # of an older format
        rows = source.numbered_rows(
            table, key, unread[table], highest=highest, has_checksum=table not in _WITHOUT_CHECKSUM
        )
        _insert(into, table, rows)
        # Steps come first, then examples: they tell how many rows the tables after them had.
        if table in ("steps", "examples"):
            column = "last_offset" if table == "steps" else "offset"
            highest = max(highest, into.one(f"SELECT COALESCE(MAX({column}), 0) FROM {table}")[0])
        elif table == _OF_EXAMPLES[-1]:
            highest = 0
    for table, key in _NAMED.items():
        _insert(into, table, source.named_rows(table, key, unread[table]))
    return unread


def _insert(into: Database, table: str, rows: Iterator[Row]) -> None:
    columns = [row[1] for row in into.all(f"PRAGMA table_info({table})")]
    with into.transaction():
        for row in rows:
            # Rows of an older format lack the columns that were added last, which have defaults.
            names = columns[: len(row)]
            if len(names) == len(row) and all(_is_storable(value) for value in row):
                marks = ", ".join("?" * len(names))
                into.execute(f"INSERT OR IGNORE INTO {table} ({', '.join(names)}) VALUES ({marks})", row)


def _is_storable(value: object) -> bool:
    if not isinstance(value, str):
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _fill_in(database: Database, unread: dict[str, Unread]) -> None:
    """Rows in place of lost ones whose absence would say something wrong."""
    # Streams carry no checksum; what the steps say of them does.
    for source, progress in database.all(
        "SELECT source, progress FROM steps WHERE step IN (SELECT MAX(step) FROM steps GROUP BY source) "
        "AND source IS NOT NULL"
    ):
        row = database.first("SELECT key FROM sources WHERE source = ?", (source,))
        said = json.loads(progress).get("key") if progress else None
        key = said if isinstance(said, str) else row[0] if row else f"lost:{source}"
        if row is None or row[0] != key:
            unread["sources"].keys.add(source)
            database.execute("INSERT OR REPLACE INTO sources VALUES (?, ?)", (source, key))
    for table in _OF_EXAMPLES:
        database.execute(f"DELETE FROM {table} WHERE offset NOT IN (SELECT offset FROM examples)")
    # A lost revision may have outdated any state from before it.
    known = {row[0] for row in database.rows("SELECT revision FROM revisions")}
    last = max(
        (
            int(database.one(f"SELECT COALESCE(MAX({column}), 0) FROM {table}")[0])
            for table, column in (
                ("revisions", "revision"),
                ("checkpoints", "revision"),
                ("versions", "revision"),
                ("deleted", "revision"),
                ("steps", "set_aside"),
            )
        )
    )
    last_step = int(database.one("SELECT COALESCE(MAX(step), 0) FROM steps")[0])
    for number in sorted(set(range(1, last + 1)) - known):
        unread["revisions"].keys.add(number)
        values = (number, "damage", 0, last_step, "its record was lost", canonical_json({}), database.now())
        database.execute("INSERT INTO revisions VALUES (?,?,?,?,?,?,?,?)", (*values, checksum(*values)))


def _tables(database: Database, losses: Losses) -> dict[str, TableLoss]:
    return {
        table: TableLoss(int(database.one(f"SELECT COUNT(*) FROM {table}")[0]), losses.missing[table])
        for table in (*_NUMBERED, *_NAMED)
    }


# What follows


def _draw_consequences(repair: Repair, journal: Journal, checkpoints: Path, losses: Losses) -> None:
    database = journal.database
    checkpoint = CheckpointStore(checkpoints, journal).newest(
        lambda reason: repair.notes.append(f"Not used: {reason}.")
    )
    begin = 0 if checkpoint is None else checkpoint.step
    lost_later = [step for step in losses.steps | losses.thinned if step > begin]
    if lost_later:
        step = min(lost_later) - 1
        steps, examples = (
            int(database.one(f"SELECT COUNT(*) FROM {table} WHERE step > ?", (step,))[0])
            for table in ("steps", "examples")
        )
        repair.num_steps_taken_back, repair.num_examples_taken_back = steps, examples
        journal.rewind(step)
        _keep_generation(journal, step)
    repair.last_step = journal.last_step
    repair.lost_steps = sorted(step for step in losses.steps if step <= begin)
    if repair.lost_steps:
        marks = ", ".join("?" * len(repair.lost_steps))
        repair.num_examples_held = int(
            database.one(
                f"SELECT COALESCE(SUM(last_offset - first_offset + 1), 0) FROM steps WHERE step IN ({marks})",
                repair.lost_steps,
            )[0]
        )


def _keep_generation(journal: Journal, step: int) -> None:
    """Where a consolidation, or a rollback behind one, is taken back too, let the codes of before count."""
    switches = read_switches(journal.database)
    if any(switch.after_step > step for switch in switches):
        generation = generation_at([switch for switch in switches if switch.after_step <= step], step + 1)
        reason = "steps before the last change of the trunk were taken back"
        journal.history.revise("damage", step + 1, step, reason, {"generation": generation})
        journal.generations.look_again()
