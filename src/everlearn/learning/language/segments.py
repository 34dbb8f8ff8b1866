"""Pieces of a document as replay memories keep them: token ids, and which of them count in the loss."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from everlearn.memory import ModelExample
from everlearn.memory.model_example import part_id

__all__ = ["decode_segment", "encode_segment"]

IntArray = npt.NDArray[np.integer]


def encode_segment(
    example_id: str,
    position: int,
    first_id: int,
    label_ids: Sequence[int] | IntArray,
    is_target: Sequence[bool] | npt.NDArray[np.bool_],
    domain: str | None,
) -> ModelExample:
    """A run of predicted tokens and the token before them, in one int32 array.

    Args:
        example_id: The example that the labels come from.
        position: Of the first token in its document; tells the segments of an example apart.
        first_id: The token before the first label; it is read and not predicted.
        label_ids: (T,).
        is_target: Which labels count in the loss (T,). Those that do not are stored as ``-1 - id``.
        domain: The example's.

    Returns:
        Input int32 (T + 1,); the target is empty.
    """
    labels = np.asarray(label_ids, dtype=np.int32)
    values = np.where(np.asarray(is_target, dtype=bool), labels, -1 - labels)
    array = np.concatenate([[-1 - first_id], values]).astype(np.int32)
    return ModelExample(id=part_id(example_id, position), target="", input=array, domain=domain)


def decode_segment(array: IntArray) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Token ids int64 (T,) that are read, and labels (T,): the next id, or -100 where it does not count."""
    values = array.astype(np.int64)
    ids = np.where(values < 0, -1 - values, values)
    labels = np.where(values[1:] < 0, -100, values[1:])
    return ids[:-1], labels
