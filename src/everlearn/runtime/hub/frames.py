"""What a hub and its prediction processes say to each other through pipes.

A frame is the length of its JSON, the length of what comes behind it (both 8 bytes, little-endian), the JSON,
and float64 probabilities one after the other.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import IO

import numpy as np

from everlearn.types import FloatArray, Json, Prediction

__all__ = ["predictions_from", "predictions_to", "read_frame", "write_frame"]

_LENGTHS = struct.Struct("<QQ")


def write_frame(file: IO[bytes], message: Json, probabilities: FloatArray | None = None) -> None:
    """Write a frame and flush it."""
    text = json.dumps(message, ensure_ascii=False).encode("utf-8", "surrogatepass")
    numbers = b"" if probabilities is None else probabilities.astype("<f8", copy=False).tobytes()
    file.write(_LENGTHS.pack(len(text), len(numbers)) + text + numbers)
    file.flush()


def read_frame(file: IO[bytes]) -> tuple[Json, FloatArray] | None:
    """Read a frame; None: the other side has closed the pipe, or was killed."""
    lengths = file.read(_LENGTHS.size)
    if len(lengths) < _LENGTHS.size:
        return None
    text_length, numbers_length = _LENGTHS.unpack(lengths)
    text, numbers = file.read(text_length), file.read(numbers_length)
    if len(text) < text_length or len(numbers) < numbers_length:
        return None
    return json.loads(text.decode("utf-8", "surrogatepass")), np.frombuffer(numbers, dtype="<f8")


def predictions_to(predictions: Sequence[Prediction | None]) -> tuple[list[Json], FloatArray]:
    """Predictions as JSON and their probabilities; labels that several share are named once."""
    said: list[Json] = []
    last: Sequence[str] | None = None
    for one in predictions:
        if one is None:
            said.append(None)
            continue
        labels = None if one.labels is last else list(one.labels)
        last = one.labels
        said.append([one.label, labels, one.outlier_score, one.is_outlier])
    parts = [one.probabilities for one in predictions if one is not None]
    return said, np.concatenate(parts) if parts else np.zeros(0)


def predictions_from(said: Sequence[Json], probabilities: FloatArray) -> list[Prediction | None]:
    """The inverse of ``predictions_to``."""
    found: list[Prediction | None] = []
    labels: tuple[str, ...] = ()
    start = 0
    for one in said:
        if one is None:
            found.append(None)
            continue
        label, named, score, is_outlier = one
        labels = labels if named is None else tuple(named)
        stop = start + len(labels)
        found.append(Prediction(label, labels, probabilities[start:stop], score, is_outlier))
        start = stop
    return found
