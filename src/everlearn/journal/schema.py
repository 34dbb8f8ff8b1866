"""The tables of a journal, and how older journals are brought up to date.

``PRAGMA user_version`` holds the format version. A migration is a list of statements that lead from
one version to the next; all that are needed run in one transaction.
"""

from __future__ import annotations

__all__ = ["APPLICATION_ID", "MIGRATIONS", "READABLE_FROM", "SCHEMA_VERSION"]

APPLICATION_ID = 0x45564C4A  # "EVLJ"

_FIRST = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    # One row an example, as it arrived. Codes and texts lie apart, so that looking for ids or fields
    # does not read them.
    """CREATE TABLE examples (
        offset INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, step INTEGER NOT NULL, role TEXT NOT NULL,
        target TEXT, domain TEXT, time TEXT, fields TEXT, crc INTEGER NOT NULL)""",
    "CREATE INDEX examples_by_role ON examples (role, offset) WHERE role <> 'learn'",
    """CREATE TABLE codes (
        offset INTEGER PRIMARY KEY, dense BLOB NOT NULL, gram_ids BLOB NOT NULL, gram_values BLOB NOT NULL,
        crc INTEGER NOT NULL)""",
    "CREATE TABLE texts (offset INTEGER PRIMARY KEY, text TEXT NOT NULL, crc INTEGER NOT NULL)",
    # What was said of an example before it was learned.
    """CREATE TABLE predictions (
        offset INTEGER PRIMARY KEY, label TEXT, confidence REAL NOT NULL, target_probability REAL,
        outlier_score REAL, is_outlier INTEGER NOT NULL, top TEXT, crc INTEGER NOT NULL)""",
    # Targets that came later than their example, and everything else that is learned out of turn.
    """CREATE TABLE changes (
        number INTEGER PRIMARY KEY, step INTEGER NOT NULL, offset INTEGER NOT NULL, kind TEXT NOT NULL,
        previous TEXT, target TEXT NOT NULL, crc INTEGER NOT NULL)""",
    "CREATE INDEX changes_by_step ON changes (step)",
    "CREATE INDEX changes_by_offset ON changes (offset)",
    "CREATE TABLE sources (source INTEGER PRIMARY KEY, key TEXT NOT NULL)",
    # One row a step of the fold, written before the step is made.
    """CREATE TABLE steps (
        step INTEGER PRIMARY KEY, source INTEGER, progress TEXT, first_offset INTEGER, last_offset INTEGER,
        learned_first INTEGER, learned_last INTEGER, num_rejected INTEGER NOT NULL, after TEXT,
        set_aside INTEGER, time TEXT NOT NULL, chain BLOB NOT NULL, crc INTEGER NOT NULL)""",
    "CREATE INDEX steps_by_source ON steps (source, step)",
    "CREATE INDEX steps_by_learned ON steps (learned_last)",
    """CREATE TABLE rejections (
        number INTEGER PRIMARY KEY, step INTEGER NOT NULL, place TEXT NOT NULL, reason TEXT NOT NULL,
        excerpt TEXT NOT NULL, id TEXT)""",
    "CREATE INDEX rejections_by_id ON rejections (id) WHERE id IS NOT NULL",
    # Changes of history: deletions, rollbacks, quarantines. States saved before one that reach beyond
    # its first step are of no use after it.
    """CREATE TABLE revisions (
        revision INTEGER PRIMARY KEY, kind TEXT NOT NULL, first_step INTEGER NOT NULL,
        last_step INTEGER NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL, time TEXT NOT NULL,
        crc INTEGER NOT NULL)""",
    "CREATE TABLE deleted (digest BLOB PRIMARY KEY, revision INTEGER NOT NULL) WITHOUT ROWID",
    """CREATE TABLE checkpoints (
        file TEXT PRIMARY KEY, step INTEGER NOT NULL, revision INTEGER NOT NULL, chain BLOB NOT NULL,
        sha256 TEXT NOT NULL, bytes INTEGER NOT NULL, time TEXT NOT NULL) WITHOUT ROWID""",
    """CREATE TABLE versions (
        version INTEGER PRIMARY KEY, parent INTEGER, step INTEGER NOT NULL, revision INTEGER NOT NULL,
        file TEXT, status TEXT NOT NULL, reason TEXT NOT NULL, fingerprint TEXT NOT NULL,
        num_examples INTEGER NOT NULL, scores TEXT NOT NULL, author TEXT NOT NULL, time TEXT NOT NULL,
        crc INTEGER NOT NULL)""",
    """CREATE TABLE decisions (
        decision INTEGER PRIMARY KEY, step INTEGER NOT NULL, first_step INTEGER NOT NULL, kind TEXT NOT NULL,
        verdict TEXT NOT NULL, reason TEXT NOT NULL, numbers TEXT NOT NULL, time TEXT NOT NULL,
        crc INTEGER NOT NULL)""",
    """CREATE TABLE flags (
        offset INTEGER PRIMARY KEY, step INTEGER NOT NULL, reason TEXT NOT NULL, score REAL NOT NULL,
        policy TEXT NOT NULL, resolved TEXT)""",
)

_GENERATIONS = (
    # Codes that a tuned trunk made of examples that had arrived before; see everlearn.journal.generations.
    """CREATE TABLE generations (
        generation INTEGER PRIMARY KEY, step INTEGER NOT NULL, fingerprint TEXT NOT NULL,
        config TEXT NOT NULL, dense_size INTEGER NOT NULL, detail TEXT NOT NULL, time TEXT NOT NULL,
        crc INTEGER NOT NULL)""",
    "CREATE TABLE tuned_codes (number INTEGER PRIMARY KEY, dense BLOB NOT NULL, crc INTEGER NOT NULL)",
    "ALTER TABLE checkpoints ADD COLUMN generation INTEGER NOT NULL DEFAULT 0",
)

_CERTIFICATES = (
    # What a deletion's certificate says; pending until it is issued. See journal/deletion/certificates.py.
    """CREATE TABLE certificates (
        revision INTEGER PRIMARY KEY, value TEXT NOT NULL, issued INTEGER NOT NULL, crc INTEGER NOT NULL)""",
    "CREATE INDEX rejections_by_excerpt ON rejections (step) WHERE excerpt <> ''",
)

_ACTS = (
    # Who has done what; examples by their offsets. See journal/acts.py.
    """CREATE TABLE acts (
        number INTEGER PRIMARY KEY, time TEXT NOT NULL, author TEXT NOT NULL, kind TEXT NOT NULL,
        step INTEGER NOT NULL, num_examples INTEGER NOT NULL, offsets TEXT NOT NULL, detail TEXT NOT NULL,
        crc INTEGER NOT NULL)""",
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_FIRST, _GENERATIONS, _CERTIFICATES, _ACTS)
"""Statements that lead from format version k to k + 1."""

SCHEMA_VERSION = len(MIGRATIONS)

READABLE_FROM = 2
"""The oldest format that readers take as it is: it has every table that they look at (but acts, of which it
has none)."""
