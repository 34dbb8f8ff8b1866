"""Whether what a journal holds can be learned again: texts are dropped, and codes belong to a trunk."""

from __future__ import annotations

from everlearn.errors import RunError
from everlearn.journal.journal import Journal
from everlearn.learning.run_learner import RunLearner
from everlearn.tasks.input import has_input

__all__ = ["require_input"]


def require_input(journal: Journal, learner: RunLearner, offset: int) -> None:
    """Make sure that an example can be learned, before that is journaled.

    Raises:
        RunError: Its text was dropped, or its code is of a trunk that does not count.
    """
    example = journal.examples.at(offset)
    assert example is not None, "it was looked up"
    if has_input(example, reads_text=learner.reads_text):
        return
    why = (
        "whose text was dropped (--no-keep-text, run.text_days or compaction)"
        if learner.reads_text
        else "which came with codes of a trunk that a rollback has taken back"
    )
    raise RunError(
        f"example {example.id!r}, {why}, cannot be learned any more: nothing was changed. `everlearn learn` "
        "takes it as a new example, with an id of its own"
    )
