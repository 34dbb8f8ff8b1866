"""Records that gave no example, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from everlearn.stream.source import Rejection, RejectionKind
from everlearn.types import Example

__all__ = [
    "deleted",
    "duplicate",
    "is_duplicate",
    "is_loss",
    "rejection_of",
    "share_lost",
    "too_many_rejected",
    "unlearnable",
]

# A share of fewer records says little of a stream.
_MIN_RECORDS = 10


def duplicate(source_name: str, number: int, example: Example) -> Rejection:
    """The rejection of an example whose id was taken before.

    Args:
        source_name: The stream.
        number: Which of its examples it is, from 1.
        example: The example.
    """
    return rejection_of(source_name, number, example, f"duplicate id {example.id!r}", "duplicate")


def deleted(source_name: str, number: int, example: Example, when: str, digest: bytes) -> Rejection:
    """The rejection of an example, or a target for one, whose id was deleted.

    Args:
        source_name: The stream.
        number: Which of its examples it is, from 1.
        example: The example.
        when: The time of the deletion.
        digest: What stays of the id.
    """
    what = "target" if example.text is None and example.code is None else "example"
    reason = f"{what} for an id that was deleted on {when[:10]} (its hash: {digest.hex()})"
    return rejection_of(source_name, number, example, reason, "deleted")


def rejection_of(
    source_name: str, number: int, example: Example, reason: str, kind: RejectionKind = "unusable"
) -> Rejection:
    """The rejection of a record that was understood, but cannot be taken."""
    return Rejection(
        place=f"{source_name}, example {number}",
        reason=reason,
        excerpt=(example.text or "")[:200],
        id=example.id,
        kind=kind,
    )


def unlearnable(source_name: str, example: Example, reason: str) -> Rejection:
    """The rejection of an example that was taken, and then could not be learned.

    Args:
        source_name: The stream.
        example: The example; it may have come some time before.
        reason: What happened.
    """
    told = rejection_of(source_name, 0, example, f"it cannot be learned and is left out: {reason}")
    return replace(told, place=f"{source_name}, id {example.id!r}")


def is_duplicate(rejection: Rejection) -> bool:
    """Whether a record was rejected because its id was taken before."""
    return rejection.kind == "duplicate"


def is_loss(rejection: Rejection) -> bool:
    """Whether a record is lost that somebody meant to be learned: neither taken before nor deleted."""
    return rejection.kind == "unusable"


def too_many_rejected(
    source_name: str, num_records: int, rejected: Sequence[Rejection], most: float
) -> str | None:
    """What to say of a source more of which is lost than is allowed; None where that is not so.

    Args:
        source_name: The source.
        num_records: All its records.
        rejected: Those that were rejected, whatever for.
        most: The share of all that may be lost.
    """
    lost = [rejection for rejection in rejected if is_loss(rejection)]
    return share_lost(source_name, num_records, len(lost), next(iter(lost), None), most)


def share_lost(
    source_name: str, num_records: int, num_lost: int, first: Rejection | None, most: float
) -> str | None:
    """The same of a source whose rejections are counted, not kept; ``first`` is one of them, if any."""
    if first is None or num_records < _MIN_RECORDS or num_lost <= most * num_records:
        return None
    return (
        f"{num_lost:,} of {num_records:,} records of {source_name} were rejected, more than the share of "
        f"{most:g} that --max-rejected allows; the first: {first.place}: {first.reason}"
    )
