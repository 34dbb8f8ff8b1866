"""Where a run is in a stream: what it has taken, how it reads on, and the ids that it gives."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from everlearn.config import RunConfig
from everlearn.journal.journal import Journal
from everlearn.learning.language.reading import document_of
from everlearn.runtime.feeds import ArrangedFeed, DirectFeed, Feed, head_of
from everlearn.runtime.run_folder import RunFolder
from everlearn.runtime.run_record import SourceProgress
from everlearn.runtime.run_settings import is_arranged, known_source
from everlearn.stream.lines import stem_of
from everlearn.stream.source import ChangedSourceError, Source
from everlearn.types import Example, Json

__all__ = ["StreamPlace"]


class StreamPlace:
    """A run's place in a stream.

    Args:
        folder: The run folder.
        config: Settings of this sitting.
        source: The stream.
        key: What identifies the stream in the run's journal.

    Attributes:
        progress: How far the run is.
        feed: Gives what comes next.
        was_changed: What was read before is not what lies there now, so it is read again from the beginning;
            ids that were taken stay so.

    Raises:
        RunError: The stream changed since the run began on it.
    """

    def __init__(self, folder: RunFolder, config: RunConfig, source: Source, key: str) -> None:
        sources = folder.sources()
        self._source = source
        # A number, and that of a piece where a document came in pieces.
        self._made_up = re.compile(rf"({re.escape(stem_of(Path(source.name)))}:\d+)(#\d+)?")
        self._journal: Journal = folder.journal
        self.progress = known_source(sources, key) or _begun(config, key)
        self._num_sources = len(sources) + all(one is not self.progress for one in sources)
        self.was_changed = False
        self.feed: Feed = self._open_feed(config)
        if self.progress.delay != config.stream.delay:
            # A stream that was read to its end notes it all the same: it may grow.
            self.progress.finished &= self.progress.delay is None
            self.progress.delay = config.stream.delay

    @property
    def experiences(self) -> ArrangedFeed | None:
        """The feed, where the stream is ordered and cut in experiences."""
        return self.feed if isinstance(self.feed, ArrangedFeed) else None

    def total(self) -> int | None:
        """Examples of the stream, if that is known."""
        return self.feed.total if isinstance(self.feed, ArrangedFeed) else self._source.count()

    def took(self, num_examples: int, cursor: dict[str, Json] | None = None) -> None:
        """Note that so many more were taken.

        Args:
            num_examples: How many.
            cursor: Where to go on; None: behind what was read.
        """
        self.progress.examples += num_examples
        self.progress.cursor = self.feed.cursor() if cursor is None else cursor

    def finish(self) -> None:
        """Note that the end was reached."""
        self.progress.finished = True
        self.progress.cursor = self.feed.cursor()

    def to_json(self) -> dict[str, Json]:
        """As journaled with a step."""
        return self.progress.model_dump(mode="json")

    def with_own_ids(self, batch: Sequence[Example]) -> Sequence[Example]:
        """Tell apart ids that two files of one name made up from their line numbers."""
        if self._num_sources == 1:
            return batch
        made_up = [self._made_up.fullmatch(one.id) for one in batch]
        ids = [one.id for one, match in zip(batch, made_up, strict=True) if match]
        # The lines of a file that was changed have the numbers that they had: nothing is to be learned twice.
        if ids and not self.was_changed and not self.progress.id_suffix and self._journal.known(ids):
            self.progress.id_suffix = f"@{self._num_sources}"
        suffix = self.progress.id_suffix
        if not suffix:
            return batch
        return [
            one if match is None else _renamed(one, match, suffix)
            for one, match in zip(batch, made_up, strict=True)
        ]

    def _open_feed(self, config: RunConfig) -> Feed:
        if not is_arranged(config):
            try:
                return DirectFeed(self._source, self.progress.cursor)
            except ChangedSourceError:
                before, self.progress = self.progress, _begun(config, self.progress.key)
                self.progress.id_suffix = before.id_suffix
                self.was_changed = True
                return DirectFeed(self._source, None)
        feed = ArrangedFeed(
            self._source,
            config.stream,
            config.seed,
            self.progress.cursor,
            self.progress.digest,
            whole_documents=config.task == "lm",
        )
        self.progress.digest = feed.digest
        return feed


def _renamed(example: Example, match: re.Match[str], suffix: str) -> Example:
    """With the suffix behind the number that was made up; the pieces of a document stay together."""
    name = match[1]
    fields = example.fields
    if document_of(example)[0] == name and fields.get("document") == name:
        fields = {**fields, "document": name + suffix}
    return replace(example, id=f"{name}{suffix}{match[2] or ''}", fields=fields)


def _begun(config: RunConfig, key: str) -> SourceProgress:
    progress = SourceProgress(key=key, head=head_of(key))
    if is_arranged(config):
        progress.arrangement = {
            "order": config.stream.order,
            "experiences": config.stream.experiences,
            "seed": config.seed,
        }
    return progress
