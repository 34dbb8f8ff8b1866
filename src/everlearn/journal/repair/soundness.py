"""Whether a journal is sound: its pages, its rows, and what ties them together."""

from __future__ import annotations

import json

from everlearn.errors import StateError
from everlearn.journal.chain import step_holds
from everlearn.journal.database import REPAIR_ADVICE, Database
from everlearn.journal.journal import Journal
from everlearn.journal.rows.example_rows import ARRIVAL_COLUMNS, ARRIVAL_JOINS, arrival_of, verified
from everlearn.journal.schema import SCHEMA_VERSION

__all__ = ["LOST_STEPS", "find_problem", "require_undamaged", "without_advice"]

LOST_STEPS = "lost_steps"
"""Key in ``meta``: steps of which something was lost to damage, as a JSON list."""

_SMALL_TABLES = ("meta", "sources", "revisions", "checkpoints")  # do not grow with the stream
_VERIFIED_TABLES = {
    "steps": "step",
    "changes": "number",
    "revisions": "revision",
    "versions": "version",
    "decisions": "decision",
    "generations": "generation",
    "certificates": "revision",
    "acts": "number",
}
_CHECKED_BYTES = 64 << 20  # a tenth of a second or so; of a larger file a start checks the newest part
_CHECKED_ROWS = 5_000
_NEWEST = 2_000  # examples of the last pages, which a power failure would have hit


def find_problem(database: Database, *, whole: bool) -> str | None:
    """The first thing that is wrong with a journal, in words; None: nothing was found.

    Of examples, codes, texts and predictions only the newest are compared with their checksums here; the
    others are when they are read.

    Args:
        database: The journal's.
        whole: Check all pages and rows of a large journal too, however long it takes.
    """
    try:
        num_pages, page_bytes = (
            int(database.one(f"PRAGMA {name}")[0]) for name in ("page_count", "page_size")
        )
        is_complete = whole or num_pages * page_bytes <= _CHECKED_BYTES
        problem = _page_problem(database, is_complete=is_complete)
        return (
            problem
            or _row_problem(database, is_complete=is_complete)
            or _tie_problem(database, is_complete=is_complete)
        )
    except StateError as error:
        return without_advice(error)


def require_undamaged(journal: Journal) -> None:
    """Check all pages and rows, as ``find_problem`` does.

    Raises:
        StateError: Something is wrong.
    """
    problem = find_problem(journal.database, whole=True)
    if problem is not None:
        raise StateError(f"{journal.database.path} is damaged: {problem}. {REPAIR_ADVICE}")


def without_advice(error: Exception) -> str:
    """What an error says is wrong, without the remedy."""
    return str(error).removesuffix(REPAIR_ADVICE).rstrip(". ")


def _page_problem(database: Database, *, is_complete: bool) -> str | None:
    for argument in ("1",) if is_complete else _SMALL_TABLES:
        found = str(database.one(f"PRAGMA integrity_check({argument})")[0])
        if found != "ok":
            return found.replace("\n", " ").removeprefix("*** in database main *** ")
    return None


def _row_problem(database: Database, *, is_complete: bool) -> str | None:
    present = {row[0] for row in database.rows("SELECT name FROM sqlite_master WHERE type = 'table'")}
    for table, key in _VERIFIED_TABLES.items():
        if table not in present and database.version < SCHEMA_VERSION:
            continue  # an older format, which is brought up to date when it is sound
        limit = -1 if is_complete else _CHECKED_ROWS
        for row in database.rows(f"SELECT * FROM {table} ORDER BY {key} DESC LIMIT {limit}"):
            verified(row, table)
    newest = database.one("SELECT COALESCE(MAX(offset), 0) FROM examples")[0]
    num_newest = _NEWEST if is_complete else _NEWEST // 10
    for row in database.rows(
        f"SELECT {ARRIVAL_COLUMNS} FROM {ARRIVAL_JOINS} WHERE e.offset > ?", (newest - num_newest,)
    ):
        arrival_of(row)
    return None


def _tie_problem(database: Database, *, is_complete: bool) -> str | None:
    """What no single row shows: rows that are missing without a trace."""
    last_step = database.one("SELECT COALESCE(MAX(step), 0) FROM steps")[0]
    first_looked_at = 1 if is_complete else max(1, last_step - _CHECKED_ROWS)
    row = database.first("SELECT value FROM meta WHERE key = ?", (LOST_STEPS,))
    lost = set(json.loads(row[0])) if row else set()
    num_steps = database.one("SELECT COUNT(*) FROM steps WHERE step >= ?", (first_looked_at,))[0]
    num_missing = last_step + 1 - first_looked_at - num_steps
    if not 0 <= num_missing <= sum(step >= first_looked_at for step in lost):
        return f"of {last_step:,} steps {num_missing:,} are missing"
    newest_step = database.first(
        "SELECT last_offset FROM steps WHERE last_offset IS NOT NULL ORDER BY step DESC LIMIT 1"
    )
    last_offset = 0 if newest_step is None else newest_step[0]
    newest = database.first("SELECT offset, step FROM examples ORDER BY offset DESC LIMIT 1")
    if newest is not None and (newest[0] > last_offset or newest[1] > last_step):
        return f"an example belongs to step {newest[1]:,}, but the last step is {last_step:,}"
    ahead = database.one("SELECT COALESCE(MAX(step), 0) FROM checkpoints")[0]
    if ahead > last_step:
        return f"a checkpoint of step {ahead:,} is recorded, but the last step is {last_step:,}"
    # The newest step of each stream says where the stream is read on.
    sources = [None, *(source for (source,) in database.all("SELECT source FROM sources"))]
    for source in sources:
        step = database.one("SELECT MAX(step) FROM steps WHERE source IS ?", (source,))[0]
        if step is not None and step not in lost and step_holds(database, step) is False:
            return f"something that came with step {step:,} is missing"
    return None
