"""A target of several labels: how it is written where a target is one string, and read again.

Journal, samples and comparisons hold a target as one string. That of a set of labels is a JSON list of its
names, sorted and distinct, so that equal sets are equal strings.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["NO_LABELS", "is_set", "label_list_problem", "labels_in", "set_problem", "written_set"]

NO_LABELS = "[]"
"""The target that no label is true of an example."""


def written_set(labels: Iterable[str]) -> str:
    """The target of a set of labels.

    >>> written_set(["joy", "anger", "joy"])
    '["anger","joy"]'
    """
    return json.dumps(sorted(set(labels)), ensure_ascii=False, separators=(",", ":"))


def labels_in(target: str) -> tuple[str, ...]:
    """The labels of a target, by name; one that is not written as a list is its only label.

    >>> labels_in('["anger","joy"]'), labels_in("joy"), labels_in("[]")
    (('anger', 'joy'), ('joy',), ())
    """
    found = _list_in(target)
    if found is None or label_list_problem(found) is not None:
        return (target,)
    return tuple(sorted(set(found)))


def is_set(target: str) -> bool:
    """Whether a target is a list of labels, be it with something in it that is no label.

    >>> is_set('["anger"]'), is_set("anger"), is_set("[sic]")
    (True, False, False)
    """
    return _list_in(target) is not None


def set_problem(target: str) -> str | None:
    """As ``label_list_problem``, of a target; None also where it is no list.

    >>> set_problem('["anger",["joy"]]')
    'label 2 of the list is a list itself; give one list of names ([] says that no label is true)'
    """
    found = _list_in(target)
    return None if found is None else label_list_problem(found)


def label_list_problem(labels: Sequence[Any]) -> str | None:
    """What keeps a list from being one of labels, and the remedy; None: each is a name.

    >>> label_list_problem(["anger", None])
    'label 2 of the list is null; leave it out ([] says that no label is true)'
    """
    for number, label in enumerate(labels, start=1):
        if isinstance(label, str) and label.strip():
            continue
        if isinstance(label, str):
            what = "blank"
        elif isinstance(label, (list, tuple)):
            what = "a list itself"
        else:
            what = "null" if label is None else f"no name but {type(label).__name__}"
        remedy = "give one list of names" if what == "a list itself" else "leave it out"
        return f"label {number} of the list is {what}; {remedy} ([] says that no label is true)"
    return None


def _list_in(target: str) -> list[Any] | None:
    if not target.startswith("["):
        return None
    try:
        found = json.loads(target)
    except (json.JSONDecodeError, RecursionError):
        return None
    return found if isinstance(found, list) else None
