"""When a run's texts are dropped."""

from __future__ import annotations

from everlearn.settings import RunConfig

__all__ = ["days_kept"]


def days_kept(config: RunConfig, *, reads_text: bool) -> float | None:
    """After how many days texts are dropped; None: never. A learner that reads texts needs them once.

    Where it is to keep none, they are kept until a checkpoint holds what was learned from them: without
    them, nothing after the last one could be made again after a crash.
    """
    return 0.0 if reads_text and config.run.keep_text is False else config.run.text_days
