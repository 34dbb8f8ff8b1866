"""What becomes of the examples that a stream gives: taken, rejected, or a target for one taken before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from everlearn.journal.journal import Journal
from everlearn.journal.records import NO_TARGET, Change, ChangeKind, KnownExample
from everlearn.journal.repair.losses import lost_steps
from everlearn.learning.run_learner import RunLearner
from everlearn.models.encoder.same_input import has_other_words
from everlearn.runtime.fold.live_run import LiveRun
from everlearn.stream.rejections import deleted, duplicate, rejection_of
from everlearn.stream.source import Rejection
from everlearn.tasks.label_limit import LabelLimit
from everlearn.tasks.task import Task
from everlearn.types import Example

__all__ = ["TEXT_OPTION", "Sorted", "sort_arrivals"]

TEXT_OPTION = " (see --text-field)"
"""What the reason for an example without text says of the command line; nothing to who asks over HTTP."""


@dataclass(slots=True)
class Sorted:
    """A batch, sorted.

    Attributes:
        fresh: Examples whose ids are new.
        changes: Targets for examples that are known.
        rejected: What can be neither.
        rejected_at: Where in the batch each of those was.
    """

    fresh: list[Example] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)
    rejected_at: list[int] = field(default_factory=list)


def sort_arrivals(
    live: LiveRun,
    batch: Sequence[Example],
    source_name: str,
    first_number: int,
    ngram_max: int,
    labels: LabelLimit | None,
) -> Sorted:
    """Sort a batch.

    A known id with another target is a correction; with a target where there was none, that target; else
    it is a duplicate. What is known already includes the batch's own examples, whose turn is never before
    the end of the batch. A deleted id stays deleted. A known id with another text is rejected: somebody
    counts from one again, and its target is not the known text's.

    Args:
        live: Knows the ids taken; its learner is to learn them.
        batch: Examples, in order; those without text and code bring a target only.
        source_name: The stream, for messages.
        first_number: Which of the stream's examples the first one is, from 1.
        ngram_max: Of the codes' lexical part, by which texts are compared.
        labels: Refuses labels beyond the run's limit; None: there is room for all of the batch's.
    """
    journal, learner = live.folder.journal, live.learner
    ids = [example.id for example in batch]
    known = journal.known(ids)
    deletions = journal.deleted_ids.among(ids)
    lost = set(lost_steps(journal)) if known else set()
    result = Sorted()
    for number, example in enumerate(batch, start=first_number):
        id_, target, before = example.id, example.target, known.get(example.id)
        has_input = example.text is not None or example.code is not None
        rejection: Rejection | None = None
        reason: str | None = None
        if id_ in deletions:
            digest = journal.deleted_ids.digest_of(id_)
            rejection = deleted(source_name, number, example, deletions[id_], digest)
        elif before is None and has_input:
            reason = learner.reading_problem(example) or _target_problem(example, live.folder.task, labels)
        elif before is None:
            reason = (
                f"it has no text{TEXT_OPTION}, and no earlier example has the id {id_!r} for "
                "which it could be the target"
            )
        elif has_input and has_other_words(_known_example(journal, before, result), example, ngram_max):
            reason = f"id {id_!r} was taken before, by another text; give every example an id of its own"
        elif not live.folder.task.learns_targets or target is None or target == before.target:
            rejection = duplicate(source_name, number, example)
        elif _lacks_text(journal, before, learner):
            if before.target == NO_TARGET:  # nothing says any more whether it is another one
                rejection = duplicate(source_name, number, example)
            else:
                reason = f"target for id {id_!r}, whose text was dropped: it cannot be learned again"
        elif before.is_held and journal.examples.step_of(before.offset) in lost:
            reason = f"target for id {id_!r}, something of whose step was lost to damage"
        elif journal.examples.lacks_code(before.offset):
            reason = f"target for id {id_!r}, which came with codes of a trunk that a rollback has taken back"
        else:
            reason = _target_problem(example, live.folder.task, labels)
        if reason is not None:
            rejection = rejection_of(source_name, number, example, reason)
        if rejection is not None:
            result.rejected.append(rejection)
            result.rejected_at.append(number - first_number)
        elif before is None:
            offset = journal.next_offset + len(result.fresh)
            result.fresh.append(example)
            known[id_] = KnownExample(offset, "learn", target, is_held=False, is_waiting=True)
        else:
            assert target is not None, "one without is a duplicate"
            change = _change(before, target)
            result.changes.append(change)
            known[id_] = replace(before, target=target, is_held=before.is_held or change.kind == "target")
    return result


def _target_problem(example: Example, task: Task, labels: LabelLimit | None) -> str | None:
    if example.target is None:
        return None
    problem = task.target_problem(example.target)
    if problem is None and labels is not None:
        problem = labels.problem_of(task.labels_of(example.target))
    return problem


def _lacks_text(journal: Journal, before: KnownExample, learner: RunLearner) -> bool:
    is_journaled = before.offset < journal.next_offset
    return learner.reads_text and is_journaled and not journal.examples.has_text(before.offset)


def _known_example(journal: Journal, before: KnownExample, batch: Sorted) -> Example:
    """The example that has an id already, in the journal or earlier in the batch."""
    if before.offset >= journal.next_offset:
        return batch.fresh[before.offset - journal.next_offset]
    found = journal.examples.at(before.offset, journal.examples.generation_of(before.offset))
    assert found is not None, "the journal has just named it"
    return found


def _change(before: KnownExample, target: str) -> Change:
    kind: ChangeKind
    if before.is_held:
        kind = "correction"
    elif before.role != "learn" or before.is_waiting:
        kind = "pending"
    else:  # its turn has come and gone: without a target, or in a step that was set aside
        kind = "target"
    return Change(before.offset, kind, before.target, target)
