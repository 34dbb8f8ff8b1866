"""Where a run is in what it is given: in a stream that it reads, or among batches that a program gives it."""

from __future__ import annotations

from collections.abc import Sequence

from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.folder.run_record import SourceProgress
from everlearn.runtime.folder.stream_keys import PROGRAM
from everlearn.runtime.loop.feeds import ArrangedFeed
from everlearn.stream.source import SourceReader
from everlearn.types import Cursor, Example, Json

__all__ = ["GivenPlace", "Place"]


class Place:
    """A run's place in what is to be learned.

    Attributes:
        name: For messages.
        progress: How far the run is.
        feed: Gives what comes next; None: batches are given.
        experiences: The feed, where the stream is ordered and cut in experiences.
    """

    name: str
    progress: SourceProgress
    feed: SourceReader | None = None
    experiences: ArrangedFeed | None = None

    def with_own_ids(self, batch: Sequence[Example], /) -> Sequence[Example]:
        """Examples with the ids that they have in the journal."""
        return batch

    def total(self) -> int | None:
        """Examples that there are, if that is known."""
        return None

    def took(self, num_examples: int, cursor: Cursor | None = None) -> None:
        """Note that so many more were taken; where to go on is behind them, or at the cursor."""
        self.progress.examples += num_examples

    def finish(self) -> None:
        """Note that the end was reached."""

    def to_json(self) -> dict[str, Json]:
        """As journaled with a step."""
        return self.progress.model_dump(mode="json")

    def close(self) -> None:
        """Let go of what is read."""
        if self.feed is not None:
            self.feed.close()


class GivenPlace(Place):
    """Among batches that a program gives: it may always give more, and nobody knows how many.

    Args:
        folder: The run folder.
        delay: Examples that pass between the prediction of an example and its turn.
    """

    name = "the program's examples"

    def __init__(self, folder: RunFolder, delay: int) -> None:
        known = (source for source in folder.sources() if source.key == PROGRAM)
        self.progress = next(known, None) or SourceProgress(key=PROGRAM)
        self.progress.delay = delay
