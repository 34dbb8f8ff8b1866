"""Texts that a tied model is healed on: a stream, read again and again, without what it is measured by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain, islice
from typing import Any

from everlearn.errors import InputError
from everlearn.runtime.commands.reading import read_batches
from everlearn.settings import RunConfig
from everlearn.stream.notes import reading_notes
from everlearn.stream.open import open_source
from everlearn.stream.source import Rejection, Source
from everlearn.tasks.table import task_of

__all__ = ["HealingTexts"]

_READ_AT_ONCE = 256


class HealingTexts:
    """Texts of the stream: those that are held out, then the others, from the beginning again at its end.

    Args:
        stream: Is read; None: there are no texts.
        settings: How it is read, by dotted path.
        batch_size: Texts a step.
        num_held_out: How many are held out.

    Raises:
        InputError: It cannot be read, or has too few.

    Attributes:
        held_out: The first ones.
        notes: How the stream was read, once it has been read to its end.
    """

    def __init__(
        self, stream: str | None, settings: Mapping[str, Any], batch_size: int, num_held_out: int
    ) -> None:
        self._settings, self._batch_size, self._num_held_out = settings, batch_size, num_held_out
        self.notes: list[str] = []
        self.held_out: list[str] = []
        self._texts: Iterator[str] = iter(())
        if stream is None:
            return
        if stream == "-":
            raise InputError(
                "healing reads its texts again where it needs more: give a file in place of standard input"
            )
        texts = self._read(stream)
        self.held_out = list(islice(texts, num_held_out))
        first = next(texts, None)
        if first is None:
            raise InputError(
                f"{stream} has {len(self.held_out)} texts: {num_held_out} are held out to measure "
                "by, so give a stream with more"
            )
        self._texts = chain([first], texts)

    def next_batch(self) -> list[str]:
        """Texts of a step."""
        return list(islice(self._texts, self._batch_size))

    def _read(self, spec: str) -> Iterator[str]:
        config = RunConfig().with_settings(self._settings)
        source = open_source(spec, task_of(config).source_config(config.stream, with_targets=False))
        yield from self._read_once(source)
        while True:
            # What is held out is never learned.
            again = islice(self._read_once(source), self._num_held_out, None)
            first = next(again, None)
            if first is None:
                return
            yield first
            yield from again

    def _read_once(self, source: Source) -> Iterator[str]:
        rejected: list[Rejection] = []
        for batch, passed_over in read_batches(source, _READ_AT_ONCE):
            rejected += passed_over
            yield from (example.text for example in batch if example.text is not None)
        self.notes = list(reading_notes(source))
        if rejected:
            first = f"{rejected[0].place}: {rejected[0].reason}"
            self.notes.append(f"{len(rejected):,} records could not be used; the first: {first}")
