"""Making a journal small: what is not needed is dropped, and the room of deleted rows given back."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from everlearn.journal.deletion.dropped_texts import TextRule, drop_texts
from everlearn.journal.journal import Journal
from everlearn.types import Json

__all__ = ["Compacted", "compact_journal", "drop_old_texts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compacted:
    """What a compaction did.

    Attributes:
        num_texts_dropped: Texts dropped; their codes stay.
        num_codes_dropped: Codes dropped that a tuned trunk had made, of which no state is left.
        bytes_before: Of the file.
        bytes_after: Of the file.
        is_log_empty: Whether nothing of what was dropped is left in the write-ahead log; False: another
            process reads the journal.
    """

    num_texts_dropped: int
    num_codes_dropped: int
    bytes_before: int
    bytes_after: int
    is_log_empty: bool = True

    def to_json(self) -> dict[str, Json]:
        """As printed by ``journal compact --json``."""
        return {
            "texts_dropped": self.num_texts_dropped,
            "codes_dropped": self.num_codes_dropped,
            "bytes_before": self.bytes_before,
            "bytes_after": self.bytes_after,
            "log_emptied": self.is_log_empty,
        }


def compact_journal(
    journal: Journal,
    *,
    drop_text_after_days: float | None = None,
    rule: TextRule | None = None,
    only_learned: bool = False,
    keep: Collection[int] = (),
) -> Compacted:
    """Drop old texts and codes of trunks that nothing uses, then rewrite the file without unused pages.

    SQLite does the rewriting in one transaction, so a crash leaves the file as it was.

    Args:
        journal: Open for writing.
        drop_text_after_days: Texts that came longer ago than this are dropped; None: no text is.
        rule: What else of an example is text.
        only_learned: Keep what waits to be learned yet.
        keep: Offsets of examples whose texts stay.
    """
    journal.empty_log()
    before = journal.num_bytes
    num_codes = _drop_unused_codes(journal)
    dropped = 0
    if drop_text_after_days is not None:
        dropped = drop_old_texts(journal, drop_text_after_days, rule, only_learned=only_learned, keep=keep)
    journal.database.execute("VACUUM")
    is_log_empty = journal.empty_log()
    return Compacted(
        num_texts_dropped=dropped,
        num_codes_dropped=num_codes,
        bytes_before=before,
        bytes_after=journal.num_bytes,
        is_log_empty=is_log_empty,
    )


def _drop_unused_codes(journal: Journal) -> int:
    """Drop codes of generations that neither count nor have a state that could be gone back to."""
    generations, history = journal.generations, journal.history
    used = {
        saved.generation for saved in history.checkpoints() if history.is_current(saved.step, saved.revision)
    }
    used.add(journal.generation)
    with journal.transaction():
        unused = [entry.generation for entry in generations.all() if entry.generation not in used]
        return sum(generations.drop_codes(generation) for generation in unused)


def drop_old_texts(
    journal: Journal,
    days: float,
    rule: TextRule | None = None,
    *,
    only_learned: bool = False,
    keep: Collection[int] = (),
) -> int:
    """Drop texts that came longer ago than this, and excerpts of records; returns how many texts.

    Age is counted from the newest step of the journal: a clock that was set back makes nothing older.

    Args:
        journal: Open for writing.
        days: 0: all.
        rule: What else of an example is text.
        only_learned: Keep what waits to be learned yet.
        keep: Offsets of examples whose texts stay.
    """
    database = journal.database
    newest = datetime.fromisoformat(database.now())
    limit = (newest - timedelta(days=days)).isoformat(timespec="milliseconds")
    with database.transaction():
        last_step = int(database.one("SELECT COALESCE(MAX(step), 0) FROM steps WHERE time <= ?", (limit,))[0])
        journal.rejections.drop_excerpts(last_step)
        last_offset = journal.standings.last_learned_in_turn if only_learned else journal.next_offset - 1
        row = database.one(
            "SELECT COALESCE(MAX(last_offset), 0) FROM steps WHERE step <= ? AND last_offset <= ?",
            (last_step, last_offset),
        )
        return drop_texts(journal, int(row[0]), rule or TextRule(), keep)
