"""From the hidden states of a token to one vector a text: mean, first token or maximum.

Shapes: R rows, W slots a row, N sequences in those rows, D hidden size.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch

from everlearn.models.encoder.rows import RowBatch

__all__ = ["Pooler", "PoolingName", "slots_of"]

PoolingName = Literal["mean", "cls", "max"]


class Pooler:
    """Pools the hidden states of one batch of rows; made once a batch, called once a layer.

    Args:
        pooling: "mean" over a sequence's tokens, "cls" for its first token, "max" by component.
        batch: Where the sequences lie.
        device: Where the hidden states are.
    """

    def __init__(self, pooling: PoolingName, batch: RowBatch, device: torch.device) -> None:
        self._pooling = pooling
        self._rows = torch.from_numpy(batch.rows).to(device)
        if pooling == "mean":
            # A product with a (segments x slots) matrix a row: cheaper than gathering the slots of each text.
            weights = np.zeros((batch.num_rows, int(batch.segments.max()) + 1, batch.width), np.float32)
            rows, segments, slots = slots_of(batch)
            weights[rows, segments, slots] = np.repeat(1 / batch.lengths, batch.lengths)
            self._weights = torch.from_numpy(weights).to(device)
            self._segments = torch.from_numpy(batch.segments).to(device)
        elif pooling == "cls":
            self._offsets = torch.from_numpy(batch.offsets).to(device)
        else:
            rows, _, slots = slots_of(batch)
            self._flat_slots = torch.from_numpy(rows * batch.width + slots).to(device)
            self._lengths = torch.from_numpy(batch.lengths).to(device)

    def __call__(self, hidden_RWD: torch.Tensor) -> torch.Tensor:
        """Pool hidden states (R, W, D) of any float type to float32 (N, D)."""
        if self._pooling == "mean":
            return torch.bmm(self._weights, hidden_RWD.float())[self._rows, self._segments]
        if self._pooling == "cls":
            return hidden_RWD[self._rows, self._offsets].float()
        tokens = hidden_RWD.reshape(-1, hidden_RWD.shape[-1])[self._flat_slots].float()
        return torch.segment_reduce(tokens, "max", lengths=self._lengths)


def slots_of(batch: RowBatch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, segment and slot of every token, sequence by sequence."""
    lengths = batch.lengths
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    repeated = (np.repeat(part, lengths) for part in (batch.rows, batch.segments, batch.offsets))
    rows, segments, offsets = repeated
    return rows, segments, offsets + within
