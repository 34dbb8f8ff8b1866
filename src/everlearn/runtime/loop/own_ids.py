"""Ids made up from line numbers: told apart where two files share them, or two states of a file."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from everlearn.document_piece import DocumentPiece
from everlearn.journal.journal import Journal
from everlearn.journal.records import KnownExample
from everlearn.models.encoder.same_input import same_words
from everlearn.runtime.folder.run_record import SourceProgress
from everlearn.stream.lines import stem_of
from everlearn.types import Example

__all__ = ["OwnIds", "suffixes_of", "unused_suffix"]

_REMEMBERED = 8  # states of a file that its lines are compared with


class OwnIds:
    """The ids of a stream's examples in the journal.

    A file that was changed is read again from its beginning. A line with the number and the words that one
    had before is that one, and is not learned twice; one with other words is new, and gets a suffix. Lines of
    another file of the same name are all new.

    Args:
        journal: The run's.
        name: The stream's.
        sources: The streams that the run has met.
        progress: In the stream; its suffixes are changed as need be.
        ngram_max: Of the words by which texts are compared.

    Attributes:
        num_renewed: Lines of numbers that are known, with other words.
    """

    def __init__(
        self,
        journal: Journal,
        name: str,
        sources: Sequence[SourceProgress],
        progress: SourceProgress,
        ngram_max: int,
    ) -> None:
        self.num_renewed = 0
        # A number, and that of a piece where a document came in pieces.
        self._pattern = re.compile(rf"({re.escape(stem_of(Path(name)))}:\d+)(#\d+)?")
        self._journal = journal
        self._sources = sources
        self._progress = progress
        self._ngram_max = ngram_max
        self._is_alone = all(source.key == progress.key for source in sources)
        self._renewed: str | None = None

    def __call__(self, batch: Sequence[Example]) -> Sequence[Example]:
        """Examples with the ids that they have in the journal."""
        progress = self._progress
        if self._is_alone and not progress.earlier_suffixes and not progress.id_suffix:
            return batch
        made_up = [self._pattern.fullmatch(example.id) for example in batch]
        ids = [match[0] for match in made_up if match is not None]
        if not ids:
            return batch
        if progress.earlier_suffixes:
            suffixes = self._told_apart(batch, made_up)
        else:
            if not progress.id_suffix and self._journal.known(ids):
                self._choose_suffix()
            suffixes = [progress.id_suffix] * len(batch)
        return [
            example if match is None or not suffix else _renamed(example, match, suffix)
            for example, match, suffix in zip(batch, made_up, suffixes, strict=True)
        ]

    def knows_any(self, batch: Iterable[Example]) -> bool:
        """Whether an example of a batch is known: by its id, or its number, with the same words."""
        suffixes = suffixes_of(self._progress)
        named = [
            (example, example.id if match is None else _id(match, suffix))
            for example in batch
            for match in (self._pattern.fullmatch(example.id),)
            for suffix in (suffixes if match is not None else ("",))
        ]
        known = self._journal.known([id_ for _, id_ in named])
        return any(id_ in known and self._same_words(known[id_], example) for example, id_ in named)

    def _told_apart(self, batch: Sequence[Example], made_up: Sequence[re.Match[str] | None]) -> list[str]:
        suffixes = suffixes_of(self._progress)[::-1]
        ids = [_id(match, suffix) for match in made_up if match is not None for suffix in suffixes]
        known, deleted = self._journal.known(ids), self._journal.deleted_ids.among(ids)
        return [
            "" if match is None else self._suffix_for(example, match, suffixes, known, deleted)
            for example, match in zip(batch, made_up, strict=True)
        ]

    def _suffix_for(
        self,
        example: Example,
        match: re.Match[str],
        suffixes: Sequence[str],
        known: dict[str, KnownExample],
        deleted: Collection[str],
    ) -> str:
        # A document's pieces behind one with other words belong to that one.
        if match[1] != self._renewed:
            was_known = False
            for suffix in suffixes:
                id_ = _id(match, suffix)
                if id_ in deleted:
                    return suffix
                if id_ in known:
                    is_same = self._same_words(known[id_], example)
                    if is_same or (is_same is None and self._progress.begins_alike):
                        return suffix
                    was_known = True
            self.num_renewed += was_known
            self._renewed = match[1]
        if self._progress.id_suffix in self._progress.earlier_suffixes:
            self._choose_suffix()
        return self._progress.id_suffix

    def _same_words(self, known: KnownExample, example: Example) -> bool | None:
        before = self._journal.examples.at(known.offset, self._journal.examples.generation_of(known.offset))
        return None if before is None else same_words(before, example, self._ngram_max)

    def _choose_suffix(self) -> None:
        others = sum(source.key != self._progress.key for source in self._sources)
        self._progress.id_suffix = unused_suffix([*self._sources, self._progress], others + 1)


def suffixes_of(progress: SourceProgress) -> list[str]:
    """All suffixes that a stream's made-up ids have, or may get, oldest first."""
    return list(dict.fromkeys([*progress.earlier_suffixes, progress.id_suffix]))[-_REMEMBERED:]


def unused_suffix(sources: Iterable[SourceProgress], at_least: int) -> str:
    """A suffix that no made-up id has yet, with that number where it is not taken."""
    used = (re.match(r"@(\d+)", suffix) for source in sources for suffix in suffixes_of(source))
    return f"@{max([2, at_least, *(int(match[1]) + 1 for match in used if match)])}"


def _id(match: re.Match[str], suffix: str) -> str:
    return f"{match[1]}{suffix}{match[2] or ''}"


def _renamed(example: Example, match: re.Match[str], suffix: str) -> Example:
    """With the suffix behind the number that was made up; the pieces of a document stay together."""
    name, piece = match[1], DocumentPiece.of(example)
    if piece is not None and piece.document == name:
        example = replace(piece, document=name + suffix).put_on(example)
    return replace(example, id=_id(match, suffix))
