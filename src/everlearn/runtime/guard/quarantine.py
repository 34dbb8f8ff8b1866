"""The quarantine of what the guard rejects: an interval is set aside, kept, and looked at again later."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from everlearn.journal.fold_steps import changes_of
from everlearn.journal.standing.learnable import steps_without_texts
from everlearn.journal.standing.set_aside import SetAside, set_aside_by_guard
from everlearn.runtime.folder.run_folder import RunFolder

__all__ = ["is_of_readmissions", "quarantine_interval", "quarantined"]

_LOOKED_AT_ONCE = 50_000  # the newest of what was ever set aside, much of which has come back


def quarantine_interval(
    folder: RunFolder,
    first_step: int,
    reason: str,
    decision: int,
    *,
    but_readmissions: bool,
    reads_text: bool,
) -> None:
    """Set aside what was learned from a step on, in the transaction of the decision to.

    Args:
        folder: The run.
        first_step: Where the interval begins; it ends with the newest step.
        reason: Why.
        decision: The number of the decision.
        but_readmissions: Leave what was readmitted within the interval as it is.
        reads_text: Whether the learner reads texts, which may have been dropped.
    """
    journal, history = folder.journal, folder.history
    revision = history.revise("quarantine", first_step, journal.last_step, reason, {"decision": decision})
    history.set_aside(first_step, journal.last_step, revision, but_readmissions=but_readmissions)
    if reads_text:  # readmissions stay, as long as they can be learned again
        for step in steps_without_texts(journal, folder.checkpoints.newest_step()):
            history.set_aside(step, step, revision)


def is_of_readmissions(folder: RunFolder) -> bool:
    """Whether the newest step learned readmissions alone: what was left of an interval rejected before."""
    journal = folder.journal
    return any(change.kind == "readmitted" for change in changes_of(journal, journal.last_step))


def quarantined(folder: RunFolder) -> Iterator[SetAside]:
    """What the guard has set aside and nothing has brought back since, newest first."""
    for entry in islice(set_aside_by_guard(folder.journal), _LOOKED_AT_ONCE):
        if entry.standing.is_out:
            yield entry
