"""An example of the journal as a record that ``learn`` takes back."""

from __future__ import annotations

from collections.abc import Mapping

from everlearn.journal.records import JournaledPrediction, Role
from everlearn.types import Example, Json

__all__ = ["exported_record"]

_NOTES = frozenset({"role", "learned", "predicted", "confidence", "outlier_score"})
# Under the first name that a record has, a stream looks for what an example is made of.
_NAMES = (("target", "label", "intent", "category"), ("time", "date", "timestamp"), ("domain",), ("id",))


def exported_record(
    example: Example, *, role: Role, target: str | None, is_learned: bool, said: JournaledPrediction | None
) -> dict[str, Json]:
    """A record: the example, its other fields beside it, and what the run did with it.

    Fields under whose names something else stands, or would be looked for when the record is read, are kept
    apart in an object ``fields``.

    Args:
        example: As the journal has it.
        role: What it is for.
        target: The present one.
        is_learned: Whether the newest state holds it.
        said: What was predicted when it came.
    """
    own: dict[str, Json] = {"id": example.id}
    if example.text is not None:
        own["text"] = example.text
    own["target"] = target
    own |= {
        name: value
        for name, value in (("domain", example.domain), ("time", example.time))
        if value is not None
    }
    notes: dict[str, Json] = {
        "role": role,
        "learned": is_learned,
        "predicted": None if said is None else said.label,
        "confidence": None if said is None else said.confidence,
        "outlier_score": None if said is None else said.outlier_score,
    }
    apart = _misread(own) & example.fields.keys()
    beside = {name: value for name, value in example.fields.items() if name not in apart}
    return (
        own | beside | notes | ({"fields": {name: example.fields[name] for name in apart}} if apart else {})
    )


def _misread(own: Mapping[str, Json]) -> set[str]:
    """Names under which another value stands already, or would be taken for what the example lacks."""
    misread = {"text", "fields", *_NOTES}
    for first, *others in _NAMES:
        misread.add(first)
        if own.get(first) is None:
            misread.update(others)
    if "text" not in own:
        misread.add("messages")  # a chat whose text was dropped
    return misread
