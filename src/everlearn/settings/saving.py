"""What does not change the result: saving, threads."""

from __future__ import annotations

from everlearn.settings.conditions import is_one_of
from everlearn.settings.section import LABEL_TASKS, Section, setting

__all__ = ["RunSettings"]


class RunSettings(Section, panel="Run"):
    """What does not change the result: saving, threads."""

    checkpoint_seconds: float = setting(60.0, "--checkpoint-seconds", "SECONDS", ge=0.0)
    """Save at least this often; 0: after every batch."""
    keep_checkpoints: int = setting(2, unit="N", ge=1)
    """The newest checkpoints that are kept beside those of versions."""
    keep_hourly: int = setting(0, unit="N", ge=0)
    """Further checkpoints that are kept: the newest of each of so many past hours."""
    keep_versions: int = setting(10, unit="N", ge=1)
    """Versions whose state is kept, so that they can be served again."""
    keep_text: bool | None = setting(
        None, "--keep-text", default_text="no; learners without codes: yes", shown_for=LABEL_TASKS
    )
    """Keep the texts beside their codes, and the beginning of rejected records that have an id (the beginning
    of records that cannot be read is kept in any case). If no: learners without codes drop texts when they
    save, except those that the guard's exams need."""
    text_days: float | None = setting(
        None, "--text-days", "DAYS", ge=0.0, default_text="never", needs=(is_one_of("run.keep_text", True),)
    )
    """Drop kept texts after so many days, with fields that repeat them, targets that are texts, and excerpts.
    Codes, labels and other fields stay; so do texts in the replay memory, and texts that the guard's exams
    need of a learner without codes."""
    threads: int | None = setting(None, "--threads", "N", ge=1, le=1_024, default_text="all that may be used")
    """Processor threads. By default as many as affinity and the container's quota allow."""
    rolling_window: int = setting(1_000, unit="N", ge=1)
    """Examples over which rolling scores are taken."""
