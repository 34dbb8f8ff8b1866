"""Telling apart the ids that two runs made up alike: those of lines of files that have one name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from everlearn.errors import RunError
from everlearn.journal.journal import Journal
from everlearn.journal.rows.entries import all_ids
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.folder.run_record import SourceProgress
from everlearn.runtime.loop.own_ids import suffixes_of, unused_suffix
from everlearn.stream.lines import stem_of
from everlearn.types import Json

__all__ = ["DistinctIds"]

_BATCH = 1_000


class DistinctIds:
    """New names for the made-up ids of a run that is merged into another, as one run would have given them.

    Args:
        folder: The run.
        into: The journal that it goes into.
        before: Streams of the runs that went there before.

    Attributes:
        sources: The run's streams, with the suffixes that their made-up ids have from now on.

    Raises:
        RunError: Both hold an id that somebody gave, or have learned one file.
    """

    def __init__(self, folder: RunFolder, into: Journal, before: Sequence[SourceProgress]) -> None:
        self.sources = folder.sources()
        self._renamed: list[tuple[re.Pattern[str], dict[str, str]]] = []
        if not before:
            return
        patterns = [_made_up(source) for source in self.sources]
        shared: dict[int, str] = {}
        given: list[str] = []
        for id_ in _shared_ids(folder.journal, into):
            place = next((k for k, pattern in enumerate(patterns) if pattern.fullmatch(id_)), None)
            if place is None:
                given.append(id_)
            else:
                shared.setdefault(place, id_)
            if len(given) == 10:
                break
        if given:
            raise RunError(
                f"{folder.path} holds examples that an earlier run holds too ({', '.join(sorted(given))}): "
                "merged, they would count twice. If they are the same, forget them in one of the runs first; "
                "if not, learn one of the streams again with ids of its own (--id-field)."
            )
        for place, id_ in shared.items():
            self._rename(folder, place, id_, patterns[place], before)

    @property
    def is_needed(self) -> bool:
        """Whether an id gets another name."""
        return bool(self._renamed)

    def __call__(self, id_: str) -> str:
        """The name of an id in the merged run."""
        for pattern, suffixes in self._renamed:
            match = pattern.fullmatch(id_)
            if match is not None:
                return f"{match[1]}{suffixes[match[2]]}{match[3] or ''}"
        return id_

    def progress(self) -> Iterator[tuple[str, dict[str, Json]]]:
        """The streams as journaled."""
        for source in self.sources:
            yield source.key, source.model_dump(mode="json")

    def _rename(
        self,
        folder: RunFolder,
        place: int,
        id_: str,
        pattern: re.Pattern[str],
        before: Sequence[SourceProgress],
    ) -> None:
        source = self.sources[place]
        if any(earlier.head is not None and earlier.head == source.head for earlier in before):
            raise RunError(
                f"{folder.path} and an earlier run have both learned {source.key} ({id_}, …): merged, its "
                "examples would count twice. Forget them in one of the runs first."
            )
        if not folder.journal.deleted_ids.is_empty:
            raise RunError(
                f"{folder.path} and an earlier run have learned files of one name whose examples are known "
                f"by their lines ({id_}, …), and the names of deleted ones can no longer be told apart: "
                f"learn {source.key} again with ids of its own (--id-field)"
            )
        suffix = unused_suffix([*before, *self.sources], len(before) + place + 1)
        names = {old: suffix + (old or "@1") for old in suffixes_of(source)} | {source.id_suffix: suffix}
        self._renamed.append((pattern, names))
        source.id_suffix = suffix
        source.earlier_suffixes = [names[old] for old in source.earlier_suffixes]


def _made_up(source: SourceProgress) -> re.Pattern[str]:
    stem = "stdin" if source.key.startswith("-") else stem_of(Path(source.key))
    suffixes = "|".join(map(re.escape, suffixes_of(source)))
    return re.compile(rf"({re.escape(stem)}:\d+)({suffixes})(#\d+)?")


def _shared_ids(journal: Journal, into: Journal) -> Iterator[str]:
    every_id = all_ids(journal)
    while ids := list(islice(every_id, _BATCH)):
        yield from into.known(ids)
