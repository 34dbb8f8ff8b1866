"""The label among those that a record gives, or all of them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from everlearn.label_set import label_list_problem, written_set
from everlearn.stream.records.record_error import RecordError
from everlearn.types import Json

__all__ = ["AS_SETS", "agreed_label", "fasttext_parts", "label_set", "one_label"]

_FASTTEXT = re.compile(r"\s*((?:__label__\S+\s+)*__label__\S+)(?:\s+(.*))?", re.DOTALL)
_PREFIX = "__label__"
_SHOWN = 5
AS_SETS = "learn lists of labels in a run of their own (--task multilabel)"
"""The remedy where a record gives several labels, and one is learned."""


def one_label(labels: Sequence[Json]) -> Json:
    """The only label of a record; None where there is none.

    Raises:
        RecordError: There are several.
    """
    if len(labels) > 1:
        shown = ", ".join(str(label) for label in labels[:_SHOWN])
        raise RecordError(
            f"{len(labels)} labels ({shown}{', …' if len(labels) > _SHOWN else ''}), and one can be learned: "
            f"leave one, or {AS_SETS}"
        )
    return labels[0] if labels else None


def label_set(value: Sequence[Json], name: str) -> str:
    """The target of a list of labels, see ``everlearn.label_set``; numbers and booleans as strings.

    Args:
        value: The list.
        name: Of its field.

    Raises:
        RecordError: Something in it is no label.
    """
    labels = [_name(label) if isinstance(label, (bool, int, float)) else label for label in value]
    problem = label_list_problem(labels)
    if problem is not None:
        raise RecordError(f"field {name!r}: {problem}")
    return written_set(labels)


def _name(label: float) -> Json:
    if isinstance(label, float) and not math.isfinite(label):
        return None
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)


def agreed_label(answers: Sequence[Sequence[Json]], *, several: bool = False) -> Json:
    """The label that all who answered chose, or the list of labels.

    Args:
        answers: The labels that each chose.
        several: Whether they may be several.

    Raises:
        RecordError: They chose different ones, or several each where they may not.
    """
    chosen = [sorted(answer, key=str) for answer in answers]
    different = [answer for number, answer in enumerate(chosen) if answer not in chosen[:number]]
    if len(different) > 1:
        shown = ", ".join(" + ".join(map(str, answer)) for answer in different[:_SHOWN])
        raise RecordError(f"its annotators disagree ({shown}); settle it there, and export again")
    if different and several:
        return different[0]
    return one_label(different[0]) if different else None


def fasttext_parts(line: str) -> tuple[list[str], str] | None:
    """Labels and text of a line of fastText; None: it is another line.

    >>> fasttext_parts("__label__card __label__lost my card is gone")
    (['card', 'lost'], 'my card is gone')
    """
    found = _FASTTEXT.fullmatch(line)
    if found is None:
        return None
    return [word.removeprefix(_PREFIX) for word in found[1].split()], found[2] or ""
