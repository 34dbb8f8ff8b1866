"""The queues of all lanes as tensors by name and JSON, and back."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from everlearn.context.lane_queue import Document, LaneQueue, Piece
from everlearn.types import Json, State

__all__ = ["pack_queues", "unpack_queues"]

_DTYPES = {"ids": np.int32, "is_target": np.bool_, "num_bytes": np.int32}


def pack_queues(queues: Sequence[LaneQueue], left: Sequence[Document]) -> State:
    """All queues, and the open documents that are in none of them."""
    documents = [document for queue in queues for document in queue.documents] + list(left)
    pieces = [piece for document in documents for piece in document.pieces]
    tensors = {
        name: torch.from_numpy(
            np.concatenate([np.empty(0, dtype), *(getattr(piece, name) for piece in pieces)])
        )
        for name, dtype in _DTYPES.items()
    }
    examples = [np.frombuffer(queue.context_examples, dtype=np.int64) for queue in queues]
    tensors["context_examples"] = torch.from_numpy(np.concatenate([np.empty(0, np.int64), *examples]))
    data = {
        "queues": [
            {
                # As text: JSON readers outside Python lose integers beyond 2**53.
                "context_number": None if queue.context_number is None else str(queue.context_number),
                "num_context_examples": len(queue.context_examples),
                "documents": [_document_data(document) for document in queue.documents],
            }
            for queue in queues
        ],
        "left": [_document_data(document) for document in left],
    }
    return State(tensors, data)


def _document_data(document: Document) -> Json:
    return {
        "number": str(document.number),
        "name": document.name,
        "is_open": document.is_open,
        "first_position": str(document.first_position),
        "pieces": [[piece.example_id, piece.domain, len(piece)] for piece in document.pieces],
    }


def unpack_queues(state: State) -> tuple[list[LaneQueue], list[Document]]:
    """Invert ``pack_queues``.

    Raises:
        KeyError, TypeError, ValueError, IndexError: The state is damaged.
    """
    arrays: dict[str, Any] = {
        name: state.tensors[name].numpy().astype(dtype) for name, dtype in _DTYPES.items()
    }
    keys = state.tensors["context_examples"].numpy().astype(np.int64)
    num_read = 0

    def document_of(data: Json) -> Document:
        nonlocal num_read
        document = Document(
            int(data["number"]), data["name"], data["is_open"], int(data["first_position"]), deque()
        )
        for example_id, domain, length in data["pieces"]:
            parts = {name: array[num_read : num_read + length] for name, array in arrays.items()}
            if any(len(part) != length for part in parts.values()):
                raise ValueError("fewer tokens than announced")
            document.append(Piece(example_id, domain, **parts))
            num_read += length
        return document

    queues, start = [], 0
    for data in state.data["queues"]:
        queue = LaneQueue()
        for fields in data["documents"]:
            queue.append(document_of(fields))
        number, stop = data["context_number"], start + int(data["num_context_examples"])
        queue.context_number = None if number is None else int(number)
        queue.context_examples = array("q", keys[start:stop].tolist())
        start = stop
        queues.append(queue)
    return queues, [document_of(fields) for fields in state.data["left"]]
