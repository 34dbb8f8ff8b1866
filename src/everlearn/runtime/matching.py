"""Choosing examples by what describes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from everlearn.config import StreamSettings
from everlearn.errors import ConfigError
from everlearn.journal.journal import Journal
from everlearn.journal.selection import COLUMNS, Column, Condition, has_field, known_fields, select_where
from everlearn.learning.language.reading import document_of
from everlearn.runtime.run_folder import RunFolder
from everlearn.types import Example

__all__ = ["adopt_field_names", "note_field_names", "offsets_of", "offsets_where"]

_FIELD_NAMES = "field_names"
"""Key in ``meta``: what the fields that became target, id, domain and time were called in the files."""
_USUAL: dict[str, Column] = {
    "label": "target",
    "intent": "target",
    "category": "target",
    "date": "time",
    "timestamp": "time",
}


def offsets_of(journal: Journal, ids: Sequence[str], *, whole_documents: bool = False) -> list[int]:
    """Offsets of the examples with one of these ids, in order.

    Args:
        journal: Holds them.
        ids: Ids.
        whole_documents: A document's id stands for all pieces that it came in.
    """
    named = journal.offsets_of(ids)
    if not whole_documents:
        return named
    wanted = frozenset(ids)
    pieces = journal.offsets_with_field(
        "document", lambda id_, fields: document_of(Example(id=id_, fields=fields))[0] in wanted
    )
    return sorted({*named, *pieces})


def note_field_names(journal: Journal, settings: StreamSettings) -> None:
    """Remember what a stream calls the fields that become target, id, domain and time."""
    known = _noted(journal)
    names = known | _mapped(settings)
    if names != known:
        journal.set_meta(_FIELD_NAMES, json.dumps(names, ensure_ascii=False, sort_keys=True))


def adopt_field_names(source: RunFolder, into: Journal) -> None:
    """Remember in a journal that takes over a run's examples what the run's streams called their fields."""
    names = _noted(into) | _mapped(source.config.stream) | _noted(source.journal)
    into.set_meta(_FIELD_NAMES, json.dumps(names, ensure_ascii=False, sort_keys=True))


def offsets_where(folder: RunFolder, where: Sequence[tuple[str, str]]) -> list[int]:
    """Offsets of the examples with these values in these fields; see ``Condition`` for how they compare.

    A field is looked for among the record's own. In a record that has none of this name it is what the name
    stands for: id, target, domain or time, by that name, by the one it had in the file (``--domain-field``
    and the like), or by a usual one (label, intent, category; date, timestamp).

    Args:
        folder: The run.
        where: (field, value) pairs, all of which must hold.

    Raises:
        ConfigError: No record of the run has such a field.
    """
    journal, names = folder.journal, _names_of(folder)
    conditions = [Condition(field, value, names.get(field)) for field, value in where]
    found = select_where(journal, conditions)
    if not found:
        for one in conditions:
            _require_known(folder, names, one)
    return found


def _require_known(folder: RunFolder, names: Mapping[str, Column], condition: Condition) -> None:
    name, journal = condition.field, folder.journal
    if name in names or has_field(journal, name):
        return
    if name in ("text", folder.config.stream.text_field):
        raise ConfigError(
            f"examples cannot be chosen by their text ({name!r}): name them by id, or by a field"
        )
    own = [one for one in known_fields(journal) if one not in names]
    mapped = [one for one in names if one not in COLUMNS and one not in _USUAL]
    raise ConfigError(
        f"no record of {folder.path} has a field {name!r}. Known are {', '.join([*COLUMNS, *mapped, *own])}"
    )


def _names_of(folder: RunFolder) -> dict[str, Column]:
    """What names of fields stand for, where a record has none of that name of its own."""
    program: dict[str, Column] = {one: one for one in COLUMNS}
    return _USUAL | _mapped(folder.config.stream) | _noted(folder.journal) | program


def _noted(journal: Journal) -> dict[str, Column]:
    saved = journal.meta(_FIELD_NAMES)
    names: dict[str, Column] = {} if saved is None else json.loads(saved)
    return names


def _mapped(settings: StreamSettings) -> dict[str, Column]:
    given: dict[Column, str | None] = {
        "target": settings.target_field,
        "id": settings.id_field,
        "domain": settings.domain_field,
        "time": settings.time_field,
    }
    return {name: column for column, name in given.items() if name is not None}
