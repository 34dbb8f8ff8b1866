"""What ``learn`` says at its end: notes for the user, and why there was nothing to learn."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from everlearn.runtime.loop.session import LearnSession
from everlearn.runtime.loop.stream_place import StreamPlace

_SMALL_BATCH = 16

__all__ = ["alike_labels", "no_example_message", "no_target_message", "sitting_notes"]


def no_example_message(session: LearnSession) -> str:
    """Why a stream gave no example."""
    rejections = session.rejections
    name, count, first = session.place.name, rejections.num_rejected, rejections.first
    if first is None:
        return f"{name} is empty: there is nothing to learn"
    rejected = (
        "its only record was rejected: "
        if count == 1
        else f"all {count:,} records were rejected; the first: "
    )
    return f"{name} has no usable example: {rejected}{first.place}: {first.reason}"


def _records_were(count: int) -> str:
    return "1 record was" if count == 1 else f"{count:,} records were"


def no_target_message(session: LearnSession, place: StreamPlace) -> str:
    """Why a stream gave examples, and nothing of it was learned."""
    rejections, name, count = session.rejections, session.place.name, session.progress.examples
    first = rejections.first
    if rejections.num_unlearnable and first is not None:
        return f"{name}: none of its {count:,} examples was learned; the first: {first.place}: {first.reason}"
    known = place.why_no_targets()
    reason = (
        session.folder.task.nothing_learned(name, count, session.config)
        if known is None
        else f"{name}: none of its {count:,} examples has a target, so nothing was learned: {known}"
    )
    if rejections.num_rejected and first is not None:
        reason += (
            f". {_records_were(rejections.num_rejected)} rejected; the first: {first.place}: {first.reason}"
        )
    return reason


def alike_labels(labels: Sequence[str], before: Collection[str]) -> str | None:
    """What to say of labels that differ by case or spaces around them alone, since one of them is new."""
    spelled: dict[str, str] = {}
    pairs = []
    for label in labels:
        other = spelled.setdefault(" ".join(label.split()).casefold(), label)
        if other != label and not {label, other} <= {*before}:
            pairs.append((other, label))
    if not pairs:
        return None
    more = f" ({len(pairs) - 1:,} more such)" if len(pairs) > 1 else ""
    return (
        f"Labels {pairs[0][0]!r} and {pairs[0][1]!r} differ by case or spaces alone and are learned as "
        f"different ones{more}. Where one is meant, deliver the records again, corrected."
    )


def sitting_notes(
    session: LearnSession, place: StreamPlace, before: int, without_target: int, *, interrupted: bool
) -> list[str]:
    """What a user should know at the end of a sitting, in sentences.

    Args:
        session: The sitting.
        place: Of the run in the stream.
        before: Examples of the stream that earlier sittings took.
        without_target: Examples of this sitting that had no target.
        interrupted: Whether the stream did not come to its end.
    """
    live, rejections, config = session.live, session.rejections, session.config
    notes = live.notes
    notes += place.notes()
    if place.was_changed:
        notes.append(
            f"{place.name} is not what was read under this name before, so it was read from its "
            "beginning; records that are known were passed over."
        )
    if renewed := place.own_ids.num_renewed:
        notes.append(
            f"{_records_were(renewed)} taken as new, with other words than what had their numbers before; "
            "ids of their own (--id-field) tell records better."
        )
    if alike := alike_labels(session.live.learner.labels, session.labels_before):
        notes.append(alike)
    if session.progress.examples == before and not interrupted:
        notes.append(f"Nothing is left to learn in {place.name}: all {before:,} examples have been read.")
    elif before:
        notes.append(f"Went on after the {before:,} examples of {place.name} learned before.")
    if rejections.num_duplicates:
        notes.append(
            f"{_records_were(rejections.num_duplicates)} already learned (same id); "
            "rejected.jsonl says where."
        )
    if rejections.num_rejected and rejections.first is not None:
        first = f"{rejections.first.place}: {rejections.first.reason}"
        more = "" if rejections.num_rejected == 1 else "; rejected.jsonl lists all"
        notes.append(f"{_records_were(rejections.num_rejected)} rejected; the first: {first}{more}.")
    notes += session.folder.task.notes(
        session.live.learner, session.live.scores, session.config, is_over=not interrupted
    )
    notes += session.publishing.notes()
    batch_size, taken = config.stream.batch_size, live.scores.counts.examples
    is_large = batch_size > _SMALL_BATCH
    if session.is_first and is_large and taken < 10 * batch_size and session.folder.task.counts_by_label:
        notes.append(
            f"The first {min(taken, batch_size):,} of {taken:,} examples were predicted before anything was "
            f"known, and count as wrong: smaller batches (--batch-size {_SMALL_BATCH}) show how it learns."
        )
    if session.config.run.keep_text and (missing := session.folder.journal.examples.num_without_text()):
        notes.append(
            f"Texts are kept from now on; those of {missing:,} examples learned before are not, so the run "
            "cannot be consolidated."
        )
    if without_target > 0:
        notes.append(f"{without_target:,} examples without target were predicted, but not learned.")
    if session.num_changes:
        count = "1 target" if session.num_changes == 1 else f"{session.num_changes:,} targets"
        notes.append(f"{count} came for examples taken before.")
    held_out = session.held_out
    if held_out is not None and held_out.rejected:
        first_bad = held_out.rejected[0]
        notes.append(
            f"{len(held_out.rejected):,} records of the held-out set could not be used; the first: "
            f"{first_bad.place}: {first_bad.reason}."
        )
    return notes
