"""What the fields that became target, id, domain and time were called in a run's files."""

from __future__ import annotations

import json

from everlearn.journal.journal import Journal
from everlearn.journal.rows.selection import Column
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.settings import StreamSettings

__all__ = ["adopt_field_names", "mapped_names", "note_field_names", "noted_names"]

_FIELD_NAMES = "field_names"
"""Key in ``meta``."""


def note_field_names(journal: Journal, settings: StreamSettings) -> None:
    """Remember what a stream calls the fields that become target, id, domain and time."""
    known = noted_names(journal)
    names = known | mapped_names(settings)
    if names != known:
        journal.set_meta(_FIELD_NAMES, json.dumps(names, ensure_ascii=False, sort_keys=True))


def adopt_field_names(source: RunFolder, into: Journal) -> None:
    """Remember in a journal that takes over a run's examples what the run's streams called their fields."""
    names = noted_names(into) | mapped_names(source.config.stream) | noted_names(source.journal)
    into.set_meta(_FIELD_NAMES, json.dumps(names, ensure_ascii=False, sort_keys=True))


def noted_names(journal: Journal) -> dict[str, Column]:
    """The names that a journal remembers, and what each stands for."""
    saved = journal.meta(_FIELD_NAMES)
    names: dict[str, Column] = {} if saved is None else json.loads(saved)
    return names


def mapped_names(settings: StreamSettings) -> dict[str, Column]:
    """The names that settings give, and what each stands for."""
    given: dict[Column, str | None] = {
        "target": settings.target_field,
        "id": settings.id_field,
        "domain": settings.domain_field,
        "time": settings.time_field,
    }
    return {name: column for column, name in given.items() if name is not None}
