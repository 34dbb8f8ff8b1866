"""Choosing examples by what describes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from everlearn.errors import ConfigError
from everlearn.journal.journal import Journal
from everlearn.journal.rows.selection import COLUMNS, Column, Condition, has_field, known_fields, select_where
from everlearn.runtime.folder.field_names import mapped_names, noted_names
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.tasks.task import Task
from everlearn.types import Example

__all__ = ["conditions_of", "offsets_of", "offsets_where"]

_USUAL: dict[str, Column] = {
    "label": "target",
    "intent": "target",
    "category": "target",
    "date": "time",
    "timestamp": "time",
}


def offsets_of(journal: Journal, ids: Sequence[str], task: Task) -> list[int]:
    """Offsets of the examples with one of these ids, in order.

    Args:
        journal: Holds them.
        ids: Ids.
        task: What the run learns; a document's id stands for all pieces that it came in.
    """
    named = journal.examples.offsets_of(ids)
    if not task.whole_documents:
        return named
    wanted = frozenset(ids)
    pieces = journal.examples.offsets_with_field(
        "document", lambda id_, fields: task.group_of(Example(id=id_, fields=fields)) in wanted
    )
    return sorted({*named, *pieces})


def offsets_where(folder: RunFolder, where: Sequence[tuple[str, str]]) -> list[int]:
    """Offsets of the examples with all these (field, value) pairs; see ``Condition`` for how they compare.

    A field is looked for among the record's own. In a record that has none of this name it is what the name
    stands for: id, target, domain or time, by that name, by the one it had in the file (``--domain-field``
    and the like), or by a usual one (label, intent, category; date, timestamp). A target that is a set of
    labels is chosen by each of them, and by its JSON.

    Raises:
        ConfigError: No record of the run has such a field.
    """
    conditions = conditions_of(folder, where)
    found = select_where(folder.journal, conditions)
    if not found:
        names = _names_of(folder)
        for condition in conditions:
            _require_known(folder, names, condition)
    return found


def conditions_of(folder: RunFolder, where: Sequence[tuple[str, str]]) -> list[Condition]:
    """What (field, value) pairs ask of an example; see ``offsets_where``."""
    names, in_sets = _names_of(folder), folder.task.targets_are_sets
    return [Condition(field, value, names.get(field), in_sets) for field, value in where]


def _require_known(folder: RunFolder, names: Mapping[str, Column], condition: Condition) -> None:
    name, journal = condition.field, folder.journal
    if name in names or has_field(journal, name):
        return
    if name in ("text", *folder.config.stream.text_field):
        raise ConfigError(
            f"examples cannot be chosen by their text ({name!r}): name them by id, or by a field"
        )
    own = [field for field in known_fields(journal) if field not in names]
    mapped = [field for field in names if field not in COLUMNS and field not in _USUAL]
    raise ConfigError(
        f"no record of {folder.path} has a field {name!r}. Known are {', '.join([*COLUMNS, *mapped, *own])}"
    )


def _names_of(folder: RunFolder) -> dict[str, Column]:
    """What names of fields stand for, where a record has none of that name of its own."""
    program: dict[str, Column] = {column: column for column in COLUMNS}
    return _USUAL | mapped_names(folder.config.stream) | noted_names(folder.journal) | program
