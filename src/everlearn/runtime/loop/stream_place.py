"""Where a run is in a stream: what it has taken, how it reads on, and the ids that it gives."""

from __future__ import annotations

from collections.abc import Sequence

from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.folder.run_record import SourceProgress
from everlearn.runtime.folder.run_settings import is_arranged, known_source, source_named
from everlearn.runtime.folder.stream_keys import head_of
from everlearn.runtime.loop.feeds import ArrangedFeed, order_is_lost
from everlearn.runtime.loop.own_ids import OwnIds, suffixes_of
from everlearn.runtime.loop.place import Place
from everlearn.settings import RunConfig
from everlearn.stream.notes import reading_notes, why_no_targets
from everlearn.stream.source import ChangedSourceError, EndOfStream, Source, SourceReader
from everlearn.tasks.table import task_of
from everlearn.types import Cursor, Example

__all__ = ["StreamPlace"]

_LOOKED_AT = 1_024


class StreamPlace(Place):
    """A run's place in a stream.

    Args:
        folder: The run folder.
        config: Settings of this sitting.
        source: The stream.
        key: What identifies the stream in the run's journal.

    Attributes:
        name: The stream's.
        progress: How far the run is.
        feed: Gives what comes next.
        experiences: The feed, where the stream is ordered and cut in experiences.
        was_changed: What was read before is not what lies there now, so it is read again from the beginning.
        own_ids: Gives examples the ids that they have in the journal.

    Raises:
        RunError: The stream changed since the run began on it.
    """

    def __init__(self, folder: RunFolder, config: RunConfig, source: Source, key: str) -> None:
        sources = folder.sources()
        before = source_named(sources, key)
        self._source = source
        self.name = source.name
        progress = known_source(sources, key)
        self.was_changed = progress is None and before is not None
        self.progress = progress or _begun(config, key, before)
        self.feed: SourceReader = self._open_feed(config)
        ngram_max = int((folder.record.learner.coder_config or {}).get("ngram_max", 2))
        self.own_ids = OwnIds(folder.journal, source.name, sources, self.progress, ngram_max)
        if self.was_changed and before is not None and before.arrangement is not None and self._is_known():
            self.close()
            raise order_is_lost(source.name)
        if self.progress.delay != config.stream.delay:
            # A stream that was read to its end notes it all the same: it may grow.
            self.progress.finished &= self.progress.delay is None
            self.progress.delay = config.stream.delay

    def with_own_ids(self, batch: Sequence[Example], /) -> Sequence[Example]:
        """See Place."""
        return self.own_ids(batch)

    def notes(self) -> list[str]:
        """What was found out about the stream while it was read, in sentences."""
        return reading_notes(self._source)

    def why_no_targets(self) -> str | None:
        """Why its records had no target, where the stream knows."""
        return why_no_targets(self._source)

    def total(self) -> int | None:
        """See Place."""
        return self._source.count() if self.experiences is None else self.experiences.total

    def took(self, num_examples: int, cursor: Cursor | None = None) -> None:
        """See Place."""
        super().took(num_examples)
        self.progress.cursor = dict(self.feed.cursor() if cursor is None else cursor)

    def finish(self) -> None:
        """See Place."""
        self.progress.finished = True
        self.progress.cursor = dict(self.feed.cursor())

    def _is_known(self) -> bool:
        """Whether the stream begins with something that the run has taken."""
        reader = self._source.open()
        try:
            return self.own_ids.knows_any(reader.next_batch(_LOOKED_AT))
        except EndOfStream:
            return False
        finally:
            reader.close()

    def _open_feed(self, config: RunConfig) -> SourceReader:
        if not is_arranged(config):
            try:
                return self._source.open(self.progress.cursor)
            except ChangedSourceError:
                self.progress = _begun(config, self.progress.key, self.progress)
                self.progress.begins_alike = self.was_changed = True
                return self._source.open()
        self.experiences = ArrangedFeed(
            self._source,
            config.stream,
            config.seed,
            self.progress.cursor,
            self.progress.digest,
            task=task_of(config),
        )
        self.progress.digest = self.experiences.digest
        return self.experiences


def _begun(config: RunConfig, key: str, before: SourceProgress | None = None) -> SourceProgress:
    """At the beginning; ``before``: what lay there before was read as far as that."""
    progress = SourceProgress(key=key, head=head_of(key))
    if before is not None:
        progress.id_suffix, progress.earlier_suffixes = before.id_suffix, suffixes_of(before)
    if is_arranged(config):
        progress.arrangement = {
            "order": config.stream.order,
            "experiences": config.stream.experiences,
            "seed": config.seed,
        }
    return progress
