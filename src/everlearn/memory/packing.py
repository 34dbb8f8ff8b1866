"""Examples of a memory as a few flat tensors and JSON, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from everlearn.errors import StateError
from everlearn.memory.model_example import ModelExample
from everlearn.types import State

__all__ = ["pack_examples", "unpack_examples"]

_DTYPES: dict[str, Any] = {"int32": np.int32, "int64": np.int64, "float32": np.float32, "float64": np.float64}


def pack_examples(examples: Sequence[ModelExample]) -> State:
    """Concatenate the inputs of examples into one tensor; ids, targets and domains become JSON.

    Args:
        examples: Examples whose inputs have one dtype: int32, int64, float32 or float64.

    Returns:
        Tensors ``inputs`` (sum of lengths,) and ``lengths`` int64 (N,), and the rest as JSON.

    Raises:
        ValueError: The inputs have no common dtype, or one that is not stored.
    """
    dtypes = sorted({str(example.input.dtype) for example in examples}) or ["int32"]
    if len(dtypes) > 1 or dtypes[0] not in _DTYPES:
        raise ValueError(f"inputs of one memory must share one dtype of {list(_DTYPES)}, not {dtypes}")
    inputs = [np.asarray(example.input) for example in examples]
    flat = np.concatenate(inputs) if inputs else np.empty(0, dtype=_DTYPES[dtypes[0]])
    return State(
        {
            "inputs": torch.from_numpy(flat.copy()),
            "lengths": torch.tensor([len(array) for array in inputs], dtype=torch.int64),
        },
        {
            "ids": [example.id for example in examples],
            "targets": [example.target for example in examples],
            "domains": [example.domain for example in examples],
        },
    )


def unpack_examples(state: State) -> list[ModelExample]:
    """Invert ``pack_examples``.

    Raises:
        StateError: A part is missing or the lengths do not agree.
    """
    try:
        flat, lengths = state.tensors["inputs"].numpy(), state.tensors["lengths"].tolist()
        ids, targets, domains = (list(state.data[key]) for key in ("ids", "targets", "domains"))
    except (KeyError, TypeError) as error:
        raise StateError(
            f"the saved memory lacks {error}; the state is damaged or of another kind"
        ) from error
    if not len(ids) == len(targets) == len(domains) == len(lengths) or sum(lengths) != len(flat):
        raise StateError(
            f"the saved memory disagrees with itself: {len(ids)} ids, {len(targets)} targets, "
            f"{len(lengths)} lengths that sum to {sum(lengths)} of {len(flat)} values"
        )
    inputs = np.split(flat, np.cumsum(lengths)[:-1]) if lengths else []
    # Each input is copied: a view would keep the whole flat tensor alive after most examples are gone.
    return [
        ModelExample(id=id_, target=target, input=array.copy(), domain=domain)
        for id_, target, domain, array in zip(ids, targets, domains, inputs, strict=True)
    ]
