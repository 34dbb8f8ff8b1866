"""Records of a sitting that gave no example: counted, and told to the journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from everlearn.errors import InputError
from everlearn.journal.records import KeptRejection
from everlearn.stream.rejections import is_duplicate, is_loss, unlearnable
from everlearn.stream.source import Rejection
from everlearn.types import Example

__all__ = ["SittingRejections"]


class SittingRejections:
    """What a sitting refuses.

    Args:
        source_name: The stream.
        is_strict: Whether a sitting stops at what cannot be learned.
        keep_excerpts: Whether it is kept how records of known ids begin: that is somebody's text.
        advice: What helps where an example cannot be learned, for messages of a strict sitting.

    Attributes:
        num_records: Records of this sitting, usable or not.
        num_lost: Those of them that were to be learned and cannot be: all but repeated and deleted ones.
        num_rejected: Records of this sitting that gave no example, those of taken ids left out.
        num_duplicates: Records of this sitting whose id was taken before.
        num_unlearnable: Examples of this sitting, or that waited for it, that could not be learned.
        first: The first of the rejected.
        newest: All of the batch that is taken, repeated ones and what cannot be learned included.
    """

    def __init__(self, source_name: str, *, is_strict: bool, keep_excerpts: bool, advice: str) -> None:
        self._source_name = source_name
        self._is_strict = is_strict
        self._keep_excerpts = keep_excerpts
        self._advice = advice
        self.num_records = self.num_lost = self.num_rejected = 0
        self.num_duplicates = self.num_unlearnable = 0
        self.first: Rejection | None = None
        self.newest: list[Rejection] = []

    def take(self, rejections: Sequence[Rejection]) -> list[KeptRejection]:
        """Count rejections; returns what is journaled of them."""
        real = [rejection for rejection in rejections if not is_duplicate(rejection)]
        self.num_rejected += len(real)
        self.newest += rejections
        self.num_lost += sum(map(is_loss, real))
        self.num_duplicates += len(rejections) - len(real)
        if self.first is None and real:
            self.first = real[0]
        return [
            KeptRejection(
                rejection.place,
                rejection.reason,
                rejection.excerpt if rejection.id is None or self._keep_excerpts else "",
                rejection.id,
            )
            for rejection in rejections
        ]

    def leave_out(self, reasons: Mapping[Example, str]) -> list[KeptRejection]:
        """Count examples that cannot be learned, and tell of them.

        Raises:
            InputError: The sitting is strict.
        """
        rejections = [unlearnable(self._source_name, example, reason) for example, reason in reasons.items()]
        if self._is_strict and rejections:
            raise InputError(f"{rejections[0].place}: {rejections[0].reason}. {self._advice}")
        self.num_unlearnable += len(rejections)
        return self.take(rejections)
