"""Examples, codes and predictions as rows, and back; every row is verified when it is read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import accumulate, pairwise

import numpy as np

from everlearn.errors import StateError
from everlearn.journal.checksums import canonical_json, checksum
from everlearn.journal.database import REPAIR_ADVICE, Row
from everlearn.journal.records import Arrival, JournaledPrediction, Role
from everlearn.types import Code, Example

__all__ = [
    "ARRIVAL_COLUMNS",
    "ARRIVAL_JOINS",
    "arrival_of",
    "code_row",
    "example_row",
    "prediction_row",
    "text_row",
    "verified",
]

_EXAMPLE = ("offset", "id", "step", "role", "target", "domain", "time", "fields", "crc")
_CODE = ("offset", "dense", "gram_ids", "gram_values", "crc")
_TEXT = ("offset", "text", "crc")
_PREDICTION = (
    "offset",
    "label",
    "confidence",
    "target_probability",
    "outlier_score",
    "is_outlier",
    "top",
    "crc",
)
_ENDS = list(accumulate(map(len, (_EXAMPLE, _CODE, _TEXT, _PREDICTION)), initial=0))
_PARTS = [slice(start, stop) for start, stop in pairwise(_ENDS)]
ARRIVAL_COLUMNS = ", ".join(
    [f"e.{name}" for name in _EXAMPLE]
    + [f"c.{name}" for name in _CODE]
    + [f"t.{name}" for name in _TEXT]
    + [f"p.{name}" for name in _PREDICTION]
)
ARRIVAL_JOINS = (
    "examples e LEFT JOIN codes c ON c.offset = e.offset LEFT JOIN texts t ON t.offset = e.offset "
    "LEFT JOIN predictions p ON p.offset = e.offset"
)


def example_row(offset: int, step: int, example: Example, role: Role) -> Row:
    """A row of ``examples``."""
    fields = canonical_json(dict(example.fields)) if example.fields else None
    values = (offset, example.id, step, role, example.target, example.domain, example.time, fields)
    return (*values, checksum(*values))


def code_row(offset: int, code: Code) -> Row:
    """A row of ``codes``."""
    values = (
        offset,
        code.dense.astype(np.int8, copy=False).tobytes(),
        code.gram_ids.astype("<u4", copy=False).tobytes(),
        code.gram_values.astype(np.uint8, copy=False).tobytes(),
    )
    return (*values, checksum(*values))


def text_row(offset: int, text: str) -> Row:
    """A row of ``texts``."""
    return (offset, text, checksum(offset, text))


def prediction_row(offset: int, prediction: JournaledPrediction) -> Row:
    """A row of ``predictions``."""
    top = canonical_json([list(pair) for pair in prediction.top]) if prediction.top else None
    values = (
        offset,
        prediction.label,
        prediction.confidence,
        prediction.target_probability,
        prediction.outlier_score,
        int(prediction.is_outlier),
        top,
    )
    return (*values, checksum(*values))


def verified(row: Sequence[object], table: str) -> Sequence[object]:
    """The row without its checksum.

    Raises:
        StateError: A value was changed on the disk.
    """
    *values, crc = row
    if checksum(*values) != crc:
        raise StateError(
            f"the journal is damaged: row {values[0]} of its table {table} does not match its checksum. "
            f"{REPAIR_ADVICE}"
        )
    return values


def arrival_of(row: Row) -> Arrival:
    """An example from a row of ``ARRIVAL_COLUMNS``."""
    example_part, code_part, text_part, prediction_part = (row[part] for part in _PARTS)
    _, id_, _, role, target, domain, time, fields = verified(example_part, "examples")
    code = text = prediction = None
    if code_part[0] is not None:
        _, dense, gram_ids, gram_values = verified(code_part, "codes")
        code = Code(
            dense=np.frombuffer(dense, np.int8),  # type: ignore[call-overload]
            gram_ids=np.frombuffer(gram_ids, "<u4").astype(np.uint32, copy=False),  # type: ignore[call-overload]
            gram_values=np.frombuffer(gram_values, np.uint8),  # type: ignore[call-overload]
        )
    if text_part[0] is not None:
        text = verified(text_part, "texts")[1]
    if prediction_part[0] is not None:
        _, label, confidence, probability, outlier, is_outlier, top = verified(prediction_part, "predictions")
        prediction = JournaledPrediction(
            label=label,  # type: ignore[arg-type]
            confidence=confidence,  # type: ignore[arg-type]
            target_probability=probability,  # type: ignore[arg-type]
            outlier_score=outlier,  # type: ignore[arg-type]
            is_outlier=bool(is_outlier),
            top=tuple((name, share) for name, share in json.loads(str(top))) if top else (),
        )
    example = Example(
        id=str(id_),
        text=text,  # type: ignore[arg-type]
        target=target,  # type: ignore[arg-type]
        domain=domain,  # type: ignore[arg-type]
        time=time,  # type: ignore[arg-type]
        code=code,
        fields=json.loads(str(fields)) if fields else {},
    )
    return Arrival(example, role, prediction)  # type: ignore[arg-type]
