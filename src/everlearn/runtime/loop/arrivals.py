"""What becomes of the examples that a stream gives: taken, refused, or a target for one taken before."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from everlearn.journal.deletion.dropped_texts import DROPPED_TARGET
from everlearn.journal.journal import Journal
from everlearn.journal.records import Change, ChangeKind, KnownExample
from everlearn.journal.repair.losses import lost_steps
from everlearn.models.encoder.same_input import has_other_words
from everlearn.stream.rejections import DELETED, duplicate, refused
from everlearn.stream.source import Rejection
from everlearn.tasks.label_limit import LabelLimit
from everlearn.types import Example

__all__ = ["DueQueue", "Sorted", "sort_arrivals"]


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
    learns_targets: bool = True,
    problem_of: Callable[[Example], str | None] = lambda _: None,
    needs_text: bool = False,
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
        learns_targets: Whether targets are learned; if not, another one is no correction.
        problem_of: Why the learner cannot read a new example; None: it can.
        needs_text: Whether the learner learns an example again from its text.
        labels: Refuses labels beyond the run's limit; None: there is room for all of the batch's.
    """
    ids = [one.id for one in batch]
    known = journal.known(ids)
    deleted = journal.deleted_ids.among(ids)
    lost = set(lost_steps(journal)) if known else set()
    result = Sorted()
    for number, one in enumerate(batch, start=first_number):
        before = known.get(one.id)
        has_input = not (one.text is None and one.code is None)
        if one.id in deleted:
            kind, when = "example" if has_input else "target", deleted[one.id][:10]
            digest = journal.deleted_ids.digest_of(one.id).hex()
            reason = f"{kind} {DELETED} {when} (its hash: {digest})"
            result.refused.append(refused(source_name, number, one, reason))
        elif (
            before is None
            and has_input
            and (problem := problem_of(one) or _label_problem(one, labels)) is not None
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
        elif needs_text and before.offset < journal.next_offset and not journal.has_text(before.offset):
            if before.target == DROPPED_TARGET:  # nothing says any more whether it is another one
                result.refused.append(duplicate(source_name, number, one))
            else:
                reason = f"target for id {one.id!r}, whose text was dropped: it cannot be learned again"
                result.refused.append(refused(source_name, number, one, reason))
        elif before.is_held and journal.step_of(before.offset) in lost:
            reason = f"target for id {one.id!r}, something of whose step was lost to damage"
            result.refused.append(refused(source_name, number, one, reason))
        elif journal.lacks_code(before.offset):
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
    found = journal.example_at(before.offset, journal.generation_of(before.offset))
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


class DueQueue:
    """Examples that wait until it is their turn to be learned.

    Args:
        delay: Examples that come between an example and its turn.
        waiting: Offsets and examples that wait already, in order.
        learned_up_to: Offset of the last one that had its turn.
    """

    def __init__(self, delay: int, waiting: Sequence[tuple[int, Example]], learned_up_to: int) -> None:
        self._delay = delay
        self._waiting = OrderedDict(waiting)
        self._learned_up_to = learned_up_to

    def __len__(self) -> int:
        return len(self._waiting)

    def push(
        self, arrived: Sequence[tuple[int, Example]], last_offset: int
    ) -> tuple[list[Example], tuple[int, int] | None]:
        """Take examples in; returns those whose turn it is, and the range of offsets they lie in.

        Args:
            arrived: Offsets and examples.
            last_offset: Of the last example that came, also of those that are not to be learned.
        """
        self._waiting.update(arrived)
        due = [self._waiting.popitem(last=False) for _ in range(len(self._waiting) - self._delay)]
        return self._released(due, None if self._waiting else last_offset)

    def flush(self, limit: int) -> tuple[list[Example], tuple[int, int] | None]:
        """Release at most ``limit`` examples although their time has not come."""
        due = [self._waiting.popitem(last=False) for _ in range(min(limit, len(self._waiting)))]
        return self._released(due, None)

    def labels(self) -> set[str]:
        """The targets of all that wait."""
        return {one.target for one in self._waiting.values() if one.target is not None}

    def correct(self, offset: int, target: str) -> None:
        """Give a waiting example another target."""
        if offset in self._waiting:
            self._waiting[offset] = self._waiting[offset].with_target(target)

    def _released(
        self, due: Sequence[tuple[int, Example]], last_offset: int | None
    ) -> tuple[list[Example], tuple[int, int] | None]:
        if not due:
            return [], None
        first, last = self._learned_up_to + 1, due[-1][0] if last_offset is None else last_offset
        self._learned_up_to = last
        return [example for _, example in due], (first, last)
