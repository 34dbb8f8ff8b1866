"""The label among those that a record gives. A learner of sets of labels would begin here."""

from __future__ import annotations

import re
from collections.abc import Sequence

from everlearn.stream.records.record_error import RecordError
from everlearn.types import Json

__all__ = ["agreed_label", "fasttext_parts", "one_label"]

_FASTTEXT = re.compile(r"\s*((?:__label__\S+\s+)*__label__\S+)(?:\s+(.*))?", re.DOTALL)
_PREFIX = "__label__"
_SHOWN = 5


def one_label(labels: Sequence[Json]) -> Json:
    """The only label of a record; None where there is none.

    Raises:
        RecordError: There are several.
    """
    if len(labels) > 1:
        shown = ", ".join(str(label) for label in labels[:_SHOWN])
        raise RecordError(
            f"{len(labels)} labels ({shown}{', …' if len(labels) > _SHOWN else ''}), and one can be learned: "
            "leave one, or make a record for each"
        )
    return labels[0] if labels else None


def agreed_label(answers: Sequence[Sequence[Json]]) -> Json:
    """The label that all who answered chose.

    Args:
        answers: The labels that each chose.

    Raises:
        RecordError: They chose different ones, or several each.
    """
    chosen = [sorted(answer, key=str) for answer in answers]
    different = [answer for number, answer in enumerate(chosen) if answer not in chosen[:number]]
    if len(different) > 1:
        shown = ", ".join(" + ".join(map(str, answer)) for answer in different[:_SHOWN])
        raise RecordError(f"its annotators disagree ({shown}); settle it there, and export again")
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
