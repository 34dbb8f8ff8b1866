"""Batches for the loop of a stream that is read whole and arranged in experiences."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any

from everlearn.errors import RunError
from everlearn.settings import StreamSettings
from everlearn.stream.order import Experience, arrange
from everlearn.stream.source import EndOfStream, Rejection, Source
from everlearn.tasks.reading import read_all
from everlearn.tasks.task import Task
from everlearn.types import Cursor, Example

__all__ = ["ArrangedFeed", "order_is_lost"]


class ArrangedFeed:
    """A stream read whole, then given out experience by experience; a ``SourceReader``.

    Args:
        source: Where the examples come from.
        settings: Order and number of experiences.
        seed: Of the shuffling.
        task: What the run learns: the pieces of a document stay together, in their order.
        cursor: Where to go on, from an earlier feed over the same stream.
        digest: The earlier feed's digest.

    Attributes:
        experiences: All of them, in the order of learning.
        digest: SHA-256 over ids and targets in order.

    Raises:
        RunError: The stream is not the one that the cursor was made on.
    """

    def __init__(
        self,
        source: Source,
        settings: StreamSettings,
        seed: int,
        cursor: Cursor | None = None,
        digest: str | None = None,
        *,
        task: Task,
    ) -> None:
        examples, self._rejected = read_all(source, corrects=task.learns_targets)
        # They are for examples of streams before this one, and have no place in the order.
        late_targets = [example for example in examples if example.text is None and example.code is None]
        examples = [example for example in examples if example.text is not None or example.code is not None]
        pieces = _pieces_by_first(examples, task) if task.whole_documents else {}
        first = [example for example in examples if not task.whole_documents or example.id in pieces]
        arranged = arrange(first, settings.order, settings.experiences, seed) if first else []
        self.experiences: list[Experience] = [_with_pieces(experience, pieces) for experience in arranged]
        if late_targets and not self.experiences:
            self.experiences = [Experience("experience 1", ())]
        self._parts = [list(experience.examples) for experience in self.experiences]
        if late_targets:
            self._parts[-1] += late_targets
        self._ends = list(accumulate(map(len, self._parts)))
        self._position = 0
        self.digest = _digest(example for part in self._parts for example in part)
        if cursor is not None:
            if digest != self.digest:
                raise order_is_lost(source.name)
            self._position = int(cursor["position"])
            # They were written down when the stream was read for the first time.
            self._rejected = []

    @property
    def total(self) -> int:
        """Number of examples."""
        return self._ends[-1] if self._ends else 0

    def next_batch(self, limit: int) -> Sequence[Example]:
        """At most ``limit`` examples of one experience. Raises EndOfStream."""
        index = bisect_right(self._ends, self._position)
        if index == len(self._ends):
            raise EndOfStream
        part = self._parts[index]
        start = self._position - (self._ends[index] - len(part))
        batch = part[start : start + limit]
        self._position += len(batch)
        return batch

    def take_rejected(self) -> list[Rejection]:
        """See SourceReader."""
        taken, self._rejected = self._rejected, []
        return taken

    def cursor(self) -> dict[str, Any]:
        """See SourceReader."""
        return {"position": self._position}

    def completed_experience(self) -> int | None:
        """Index of the experience whose last example was in the last batch, if it was."""
        index = bisect_right(self._ends, self._position - 1)
        return index if self._position and self._ends[index] == self._position else None

    def close(self) -> None:
        """See SourceReader."""


def _pieces_by_first(examples: Sequence[Example], task: Task) -> dict[str, list[Example]]:
    """The pieces of each document by the id of the first; other examples are documents themselves."""
    documents: dict[str, list[Example]] = {}
    for example in examples:
        documents.setdefault(task.group_of(example), []).append(example)
    return {pieces[0].id: pieces for pieces in documents.values()}


def _with_pieces(experience: Experience, pieces: Mapping[str, Sequence[Example]]) -> Experience:
    examples = [piece for first in experience.examples for piece in pieces.get(first.id, (first,))]
    return Experience(experience.name, tuple(examples))


def order_is_lost(name: str) -> RunError:
    """The error of a stream that was arranged, and is another one now."""
    return RunError(
        f"{name} has changed since the run began on it, so its order cannot be resumed; "
        "restore the file, or learn it into a new folder"
    )


def _digest(examples: Iterable[Example]) -> str:
    digest = hashlib.sha256()
    for example in examples:
        digest.update(f"{example.id}\0{example.target}\n".encode("utf-8", errors="surrogatepass"))
    return digest.hexdigest()
