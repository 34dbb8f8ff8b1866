"""Where a run is in what it is given: in a stream that it reads, or among batches that a program gives it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.folder.run_record import SourceProgress
from everlearn.runtime.folder.stream_keys import PROGRAM
from everlearn.runtime.loop.feeds import ArrangedFeed, Feed
from everlearn.types import Example, Json

__all__ = ["GivenPlace", "Place"]


class Place(Protocol):
    """A run's place in what is to be learned.

    Attributes:
        name: For messages.
        progress: How far the run is.
    """

    name: str
    progress: SourceProgress

    @property
    def feed(self) -> Feed | None:
        """Gives what comes next; None: batches are given."""
        ...

    @property
    def experiences(self) -> ArrangedFeed | None:
        """The feed, where the stream is ordered and cut in experiences."""
        ...

    def with_own_ids(self, batch: Sequence[Example], /) -> Sequence[Example]:
        """Examples with the ids that they have in the journal."""
        ...

    def total(self) -> int | None:
        """Examples that there are, if that is known."""
        ...

    def took(self, num_examples: int, cursor: dict[str, Json] | None = None) -> None:
        """Note that so many more were taken; where to go on is behind them, or at the cursor."""
        ...

    def finish(self) -> None:
        """Note that the end was reached."""
        ...

    def to_json(self) -> dict[str, Json]:
        """As journaled with a step."""
        ...

    def close(self) -> None:
        """Let go of what is read."""
        ...


class GivenPlace:
    """Among batches that a program gives; a ``Place``.

    Args:
        folder: The run folder.
        delay: Examples that pass between the prediction of an example and its turn.
    """

    name = "the program's examples"
    feed: Feed | None = None
    experiences: ArrangedFeed | None = None

    def __init__(self, folder: RunFolder, delay: int) -> None:
        known = (source for source in folder.sources() if source.key == PROGRAM)
        self.progress = next(known, None) or SourceProgress(key=PROGRAM)
        self.progress.delay = delay

    def with_own_ids(self, batch: Sequence[Example], /) -> Sequence[Example]:
        """The ids that the program gives."""
        return batch

    def total(self) -> int | None:
        """Nobody knows."""
        return None

    def took(self, num_examples: int, cursor: dict[str, Json] | None = None) -> None:
        """See Place."""
        self.progress.examples += num_examples

    def finish(self) -> None:
        """A program may always give more."""

    def to_json(self) -> dict[str, Json]:
        """See Place."""
        return self.progress.model_dump(mode="json")

    def close(self) -> None:
        """Nothing is read."""
