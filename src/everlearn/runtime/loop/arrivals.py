"""What becomes of the examples that a stream gives: taken, refused, or a target for one taken before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from everlearn.journal.journal import Journal
from everlearn.journal.records import NO_TARGET, Change, ChangeKind, KnownExample
from everlearn.journal.repair.losses import lost_steps
from everlearn.learning.run_learner import RunLearner
from everlearn.models.encoder.same_input import has_other_words
from everlearn.stream.rejections import deleted, duplicate, refused
from everlearn.stream.source import Rejection
from everlearn.tasks.label_limit import LabelLimit
from everlearn.types import Example

__all__ = ["Sorted", "sort_arrivals"]


@dataclass(slots=True)
class Sorted:
    """A batch, sorted.

    Attributes:
        fresh: Examples whose ids are new.
        changes: Targets for examples that are known.
        refused: What can be neither.
        refused_at: Where in the batch each of those was.
    """

    fresh: list[Example] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    refused: list[Rejection] = field(default_factory=list)
    refused_at: list[int] = field(default_factory=list)


def sort_arrivals(
    journal: Journal,
    batch: Sequence[Example],
    source_name: str,
    first_number: int,
    ngram_max: int = 2,
    *,
    learner: RunLearner,
    learns_targets: bool = True,
    labels: LabelLimit | None = None,
) -> Sorted:
    """Sort a batch.

    A known id with another target is a correction; with a target where there was none, that target; else
    it is a duplicate. What is known already includes the batch's own examples, whose turn is never before
    the end of the batch. A deleted id stays deleted. A known id with another text is refused: somebody counts
    from one again, and its target is not the known text's.

    Args:
        journal: Knows the ids taken.
        batch: Examples, in order; those without text and code bring a target only.
        source_name: The stream, for messages.
        first_number: Which of the stream's examples the first one is, from 1.
        ngram_max: Of the codes' lexical part, by which texts are compared.
        learner: What is to learn them.
        learns_targets: Whether targets are learned; if not, another one is no correction.
        labels: Refuses labels beyond the run's limit; None: there is room for all of the batch's.
    """
    ids = [one.id for one in batch]
    known = journal.known(ids)
    deletions = journal.deleted_ids.among(ids)
    lost = set(lost_steps(journal)) if known else set()
    result, needs_text = Sorted(), learner.reads_text
    for number, one in enumerate(batch, start=first_number):
        before = known.get(one.id)
        has_input = not (one.text is None and one.code is None)
        if one.id in deletions:
            digest = journal.deleted_ids.digest_of(one.id)
            result.refused.append(deleted(source_name, number, one, deletions[one.id], digest))
        elif (
            before is None
            and has_input
            and (problem := learner.reading_problem(one) or _label_problem(one, labels)) is not None
        ):
            result.refused.append(refused(source_name, number, one, problem))
        elif before is None and has_input:
            offset = journal.next_offset + len(result.fresh)
            result.fresh.append(one)
            known[one.id] = KnownExample(offset, "learn", one.target, is_held=False, is_waiting=True)
        elif before is None:
            reason = (
                f"it has no text (see --text-field), and no earlier example has the id {one.id!r} for "
                "which it could be the target"
            )
            result.refused.append(refused(source_name, number, one, reason))
        elif has_input and has_other_words(_known_example(journal, before, result), one, ngram_max):
            reason = f"id {one.id!r} was taken before, by another text; give every example an id of its own"
            result.refused.append(refused(source_name, number, one, reason))
        elif not learns_targets or one.target is None or one.target == before.target:
            result.refused.append(duplicate(source_name, number, one))
        elif (
            needs_text
            and before.offset < journal.next_offset
            and not journal.examples.has_text(before.offset)
        ):
            if before.target == NO_TARGET:  # nothing says any more whether it is another one
                result.refused.append(duplicate(source_name, number, one))
            else:
                reason = f"target for id {one.id!r}, whose text was dropped: it cannot be learned again"
                result.refused.append(refused(source_name, number, one, reason))
        elif before.is_held and journal.examples.step_of(before.offset) in lost:
            reason = f"target for id {one.id!r}, something of whose step was lost to damage"
            result.refused.append(refused(source_name, number, one, reason))
        elif journal.examples.lacks_code(before.offset):
            reason = (
                f"target for id {one.id!r}, which came with codes of a trunk that a rollback has taken back"
            )
            result.refused.append(refused(source_name, number, one, reason))
        elif (problem := _label_problem(one, labels)) is not None:
            result.refused.append(refused(source_name, number, one, problem))
        else:
            change = _change(before, one.target)
            result.changes.append(change)
            is_held = before.is_held or change.kind == "target"
            known[one.id] = replace(before, target=one.target, is_held=is_held)
        if len(result.refused) > len(result.refused_at):
            result.refused_at.append(number - first_number)
    return result


def _label_problem(example: Example, labels: LabelLimit | None) -> str | None:
    return None if labels is None else labels.problem_of(example.target)


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
