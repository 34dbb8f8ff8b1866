"""What of a run's examples is text, and when texts are dropped."""

from __future__ import annotations

from everlearn.config import RunConfig
from everlearn.journal.deletion.dropped_texts import TextRule

__all__ = ["days_kept", "text_rule"]

_OF_CHATS = frozenset({"messages", "tools"})
_OF_PAIRS = frozenset({"source", "text"})


def text_rule(config: RunConfig) -> TextRule:
    """What of an example is text, beside its text. Other fields stay, for ``forget --where``."""
    if config.task == "lm":
        return TextRule(fields=_OF_CHATS, targets=True)
    if config.task == "seq2seq":
        return TextRule(fields=_OF_PAIRS, targets=True)
    return TextRule()


def days_kept(config: RunConfig, *, reads_text: bool) -> float | None:
    """After how many days texts are dropped; None: never. A learner that reads texts needs them once.

    Where it is to keep none, they are kept until a checkpoint holds what was learned from them: without
    them, nothing after the last one could be made again after a crash.
    """
    return 0.0 if reads_text and config.run.keep_text is False else config.run.text_days
