"""Keys and values of earlier tokens, as tensors that all lanes share.

Legend: B rows or lanes, P slots, N layers, H key heads, D dimensions of a key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Slots"]


@dataclass(frozen=True, slots=True, eq=False)
class Slots:
    """Slots of each row, those in use first, in the order of their positions.

    Attributes:
        keys: N tensors (B, H, P, D), turned by ``rotation_BP``.
        values: N tensors (B, H, P, D).
        document_BP: int64: document of the token; -1 where the slot is empty.
        position_BP: int64: position within the document.
        rotation_BP: int64: position that the model was told, which the key is turned by.
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    document_BP: Tensor
    position_BP: Tensor
    rotation_BP: Tensor

    @property
    def num_slots(self) -> int:
        """P."""
        return self.document_BP.shape[1]

    @property
    def num_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.nbytes for tensor in (*self.keys, *self.values, *self._places()))

    def _places(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.document_BP, self.position_BP, self.rotation_BP

    def first(self, num_slots: int) -> Slots:
        """The first slots of each row."""
        if num_slots == self.num_slots:
            return self
        return Slots(
            tuple(tensor[:, :, :num_slots] for tensor in self.keys),
            tuple(tensor[:, :, :num_slots] for tensor in self.values),
            *(tensor[:, :num_slots] for tensor in self._places()),
        )

    def rows(self, rows: Tensor) -> Slots:
        """Some rows."""
        return Slots(
            tuple(tensor.index_select(0, rows) for tensor in self.keys),
            tuple(tensor.index_select(0, rows) for tensor in self.values),
            *(tensor.index_select(0, rows) for tensor in self._places()),
        )

    def followed_by(self, other: Slots) -> Slots:
        """These slots and others behind them."""
        return Slots(
            tuple(torch.cat(pair, 2) for pair in zip(self.keys, other.keys, strict=True)),
            tuple(torch.cat(pair, 2) for pair in zip(self.values, other.values, strict=True)),
            *(torch.cat(pair, 1) for pair in zip(self._places(), other._places(), strict=True)),
        )

    def keep(self, keep_BP: Tensor) -> Slots:
        """Only these slots, moved to the front; as many as the fullest row has."""
        num_kept = int(keep_BP.sum(1).max())
        order_BK = torch.argsort(~keep_BP, dim=1, stable=True)[:, :num_kept]
        document_BK, position_BK, rotation_BK = (tensor.gather(1, order_BK) for tensor in self._places())
        # Asked once for all layers: on a GPU the answer has to be waited for.
        is_common = bool((order_BK == order_BK[:1]).all())
        return Slots(
            tuple(_pick(tensor, order_BK, is_common) for tensor in self.keys),
            tuple(_pick(tensor, order_BK, is_common) for tensor in self.values),
            document_BK.masked_fill(~keep_BP.gather(1, order_BK), -1),
            position_BK,
            rotation_BK,
        )

    def with_rows(self, rows: Tensor, other: Slots) -> Slots:
        """These slots with some rows replaced, cut to what the fullest row needs."""
        num_slots = max(self.num_slots, other.num_slots)
        mine, theirs = self._padded(num_slots), other._padded(num_slots)
        replaced = Slots(
            tuple(a.index_copy(0, rows, b) for a, b in zip(mine.keys, theirs.keys, strict=True)),
            tuple(a.index_copy(0, rows, b) for a, b in zip(mine.values, theirs.values, strict=True)),
            *(a.index_copy(0, rows, b) for a, b in zip(mine._places(), theirs._places(), strict=True)),
        )
        return replaced.first(replaced.num_used())

    def num_used(self) -> int:
        """Slots of the fullest row."""
        return int((self.document_BP >= 0).sum(1).max()) if self.num_slots else 0

    def _padded(self, num_slots: int) -> Slots:
        missing = num_slots - self.num_slots
        if not missing:
            return self
        pad = torch.nn.functional.pad
        return Slots(
            tuple(pad(tensor, (0, 0, 0, missing)) for tensor in self.keys),
            tuple(pad(tensor, (0, 0, 0, missing)) for tensor in self.values),
            pad(self.document_BP, (0, missing), value=-1),
            *(pad(tensor, (0, missing)) for tensor in (self.position_BP, self.rotation_BP)),
        )

    def without_rows(self, rows: Sequence[int]) -> Slots:
        """These slots with some rows emptied; their keys and values are overwritten by zeros."""
        is_gone_B = torch.zeros(len(self.document_BP), dtype=torch.bool, device=self.document_BP.device)
        is_gone_B[list(rows)] = True
        emptied = Slots(
            tuple(tensor.masked_fill(is_gone_B[:, None, None, None], 0) for tensor in self.keys),
            tuple(tensor.masked_fill(is_gone_B[:, None, None, None], 0) for tensor in self.values),
            self.document_BP.masked_fill(is_gone_B[:, None], -1),
            self.position_BP.masked_fill(is_gone_B[:, None], 0),
            self.rotation_BP.masked_fill(is_gone_B[:, None], 0),
        )
        return emptied.first(emptied.num_used())

    def detached(self) -> Slots:
        """The same slots, cut from the graph."""
        return Slots(
            tuple(tensor.detach() for tensor in self.keys),
            tuple(tensor.detach() for tensor in self.values),
            *self._places(),
        )

    def stored_as(self, dtype: torch.dtype | None) -> Slots:
        """The same slots in another type; None: as they are."""
        if dtype is None:
            return self
        return Slots(
            tuple(tensor.to(dtype) for tensor in self.keys),
            tuple(tensor.to(dtype) for tensor in self.values),
            *self._places(),
        )


def _pick(tensor_BHPD: Tensor, order_BK: Tensor, is_common: bool) -> Tensor:
    """Slots in the given order (B, H, K, D), which may be common to all rows."""
    if is_common:
        # Copies whole rows of D, which a gather by element does not.
        return tensor_BHPD.index_select(2, order_BK[0])
    num_heads, size = tensor_BHPD.shape[1], tensor_BHPD.shape[3]
    return tensor_BHPD.gather(2, order_BK[:, None, :, None].expand(-1, num_heads, -1, size))
