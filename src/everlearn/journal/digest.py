"""One hash of everything a journal says, but for the times at which it was said."""

from __future__ import annotations

import hashlib

from everlearn.journal.journal import Journal

__all__ = ["content_digest"]

_QUERIES = (
    "SELECT offset, id, step, role, target, domain, time, fields FROM examples ORDER BY offset",
    "SELECT offset, dense, gram_ids, gram_values FROM codes ORDER BY offset",
    "SELECT offset, text FROM texts ORDER BY offset",
    "SELECT offset, label, confidence, target_probability, outlier_score, is_outlier, top FROM predictions "
    "ORDER BY offset",
    "SELECT number, step, offset, kind, previous, target FROM changes ORDER BY number",
    "SELECT s.step, k.key, s.progress, s.first_offset, s.last_offset, s.learned_first, s.learned_last, "
    "s.num_rejected, s.after, s.set_aside, s.chain FROM steps s LEFT JOIN sources k ON k.source = s.source "
    "ORDER BY s.step",
    "SELECT place, reason, excerpt, id FROM rejections ORDER BY number",
    "SELECT revision, kind, first_step, last_step FROM revisions ORDER BY revision",
    "SELECT decision, step, first_step, kind, verdict FROM decisions ORDER BY decision",
)


def content_digest(journal: Journal) -> str:
    """SHA-256 (hex): equal for two journals that took and learned the same, predictions included."""
    digest = hashlib.sha256()
    for query in _QUERIES:
        for row in journal.database.rows(query):
            digest.update(repr(row).encode("utf-8", "surrogatepass"))
        digest.update(b"\n--\n")
    return digest.hexdigest()
