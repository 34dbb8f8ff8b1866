"""Sums of feature products, exact in integers: the whole memory of the ridge expert.

G = Σ φφᵀ (M, M) is kept as int64 row panels of its lower half; Q = Σ φ by class (C, M) and the
number of examples by class beside it. Sums of integers do not depend on order, batch size,
thread count or device, so merging is addition and deletion is subtraction, to the bit.

Legend: B examples, N pairs of an example and a class that it is of, M features, C classes, U of them that a
batch has, P rows of a panel.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch

from everlearn.learning.closed_form.integer_products import int8_product

__all__ = ["PANEL_ROWS", "GramSums", "panel_rows"]

PANEL_ROWS = 512
_ROWS_AT_ONCE = 64  # what is made and used at once stays in the processor's cache
_GROWTH = 1.25  # of the room for classes: without room to spare each new label would copy all sums


class GramSums:
    """Exact sums over examples; additions are gathered and applied in large blocks.

    Args:
        num_features: M.
        gather: Examples gathered before they are applied. A pass over G costs the same for one
            example as for a thousand, so small batches wait.
        device: Where the sums live.
        sketched: Which features are a sketch's, ascending; a solve may shrink these otherwise. None: none.

    Attributes:
        num_features: M.
        sketched: As given; empty where there are none.
    """

    def __init__(
        self, num_features: int, gather: int, device: torch.device, sketched: torch.Tensor | None = None
    ) -> None:
        self.num_features = num_features
        self.sketched = torch.zeros(0, dtype=torch.int64, device=device) if sketched is None else sketched
        self._gather = gather
        self._device = device
        self._panels = [
            torch.zeros(
                min(PANEL_ROWS, num_features - start),
                min(start + PANEL_ROWS, num_features),
                dtype=torch.int64,
                device=device,
            )
            for start in range(0, num_features, PANEL_ROWS)
        ]
        self._class_rows = torch.zeros(
            0, num_features, dtype=torch.int64, device=device
        )  # with room to spare
        self.class_counts_C = torch.zeros(0, dtype=torch.int64)
        self._waiting: list[_Batch] = []
        self._num_waiting = 0
        self._in_panel = [0] * len(self._panels)  # batches of the waiting that each panel has already
        self._in_class_sums = 0

    @property
    def num_classes(self) -> int:
        """C, classes with a row in the sums."""
        return len(self.class_counts_C)

    @property
    def _class_sums_CM(self) -> torch.Tensor:
        return self._class_rows[: self.num_classes]

    @property
    def num_examples(self) -> int:
        """Examples in the sums, the gathered ones included, where each is of one class."""
        return int(self.class_counts_C.sum())

    def add(
        self,
        features_BM: torch.Tensor,
        classes_N: torch.Tensor,
        num_classes: int,
        rows_N: torch.Tensor | None = None,
    ) -> None:
        """Add int8 features (B, M) of examples of the given classes (int64, in 0…num_classes-1).

        Args:
            features_BM: Features.
            classes_N: Classes.
            num_classes: C, new ones included.
            rows_N: Which example each class is of; None: each example is of one class.
        """
        self._grow(num_classes)
        self.class_counts_C += torch.bincount(classes_N, minlength=num_classes)
        self._gather_batch(_Batch(features_BM, classes_N, _rows(rows_N, features_BM), 1))

    def subtract(
        self, features_BM: torch.Tensor, classes_N: torch.Tensor, rows_N: torch.Tensor | None = None
    ) -> None:
        """Take examples out that were added before; exact. They are gathered, too, until ``flush``."""
        self.class_counts_C -= torch.bincount(classes_N, minlength=self.num_classes)
        self._gather_batch(_Batch(features_BM, classes_N, _rows(rows_N, features_BM), -1))

    def _gather_batch(self, batch: _Batch) -> None:
        self._waiting.append(batch)
        self._num_waiting += len(batch.features_BM)
        if self._num_waiting >= self._gather:
            self.flush()

    def flush(self) -> None:
        """Apply what was gathered."""
        self._flush_panels(len(self._panels))
        self._flush_class_sums()
        self._waiting.clear()
        self._num_waiting = 0
        self._in_panel = [0] * len(self._panels)
        self._in_class_sums = 0

    def merge(self, other: GramSums, class_of_other: Sequence[int], num_classes: int) -> None:
        """Add all sums of ``other``; its class k is class ``class_of_other[k]`` here."""
        self.flush()
        other.flush()
        self._grow(num_classes)
        for mine, theirs in zip(self._panels, other._panels, strict=True):
            mine += theirs
        index = torch.tensor(class_of_other, dtype=torch.int64)
        self._class_sums_CM[index.to(self._device)] += other._class_sums_CM
        self.class_counts_C[index] += other.class_counts_C

    def keep_classes(self, kept: Sequence[int]) -> None:
        """Keep the rows of these classes, in this order; the others must be empty."""
        self.flush()
        index = torch.tensor(kept, dtype=torch.int64)
        self._class_rows = self._class_sums_CM[index.to(self._device)]
        self.class_counts_C = self.class_counts_C[index]

    def panels(self, num_features: int | None = None) -> list[torch.Tensor]:
        """Row panels of the lower half of G: panel k is int64 (P, columns up to its last row).

        Entries right of the diagonal within a panel's last square are the mirror image's.

        Args:
            num_features: Only the panels of so many leading features; the others go on gathering.
        """
        num_panels = -(-(num_features or self.num_features) // PANEL_ROWS)
        self._flush_panels(num_panels)
        return self._panels[:num_panels]

    def class_sums(self) -> torch.Tensor:
        """Q: int64 (C, M), sums of features by class."""
        self._flush_class_sums()
        return self._class_sums_CM

    def tensors(self) -> dict[str, torch.Tensor]:
        """A copy of the sums as named tensors; int32 where all entries fit, else int64."""
        named = {f"gram.{k:03d}": _narrowed(panel.cpu()) for k, panel in enumerate(self.panels())}
        class_sums = _narrowed(self.class_sums().cpu())
        return {**named, "class_sums": class_sums, "class_counts": self.class_counts_C.clone()}

    def load(self, tensors: dict[str, torch.Tensor]) -> None:
        """Replace the sums by what ``tensors`` gave. Shapes must fit."""
        self._waiting.clear()
        self._num_waiting = 0
        self._in_panel = [0] * len(self._panels)
        self._in_class_sums = 0
        for k, panel in enumerate(self._panels):
            panel.copy_(tensors[f"gram.{k:03d}"])
        self._class_rows = tensors["class_sums"].to(self._device, torch.int64, copy=True)
        self.class_counts_C = tensors["class_counts"].clone()

    def _grow(self, num_classes: int) -> None:
        missing = num_classes - self.num_classes
        if missing <= 0:
            return
        if num_classes > len(self._class_rows):
            room = max(num_classes, int(_GROWTH * len(self._class_rows)))
            rows = torch.zeros(room, self.num_features, dtype=torch.int64, device=self._device)
            rows[: self.num_classes] = self._class_sums_CM
            self._class_rows = rows
        self.class_counts_C = torch.cat([self.class_counts_C, torch.zeros(missing, dtype=torch.int64)])

    def _flush_panels(self, num_panels: int) -> None:
        behind: dict[int, list[int]] = {}
        for k in range(num_panels):
            behind.setdefault(self._in_panel[k], []).append(k)
        for start, panels in behind.items():
            for sign, waiting in _by_sign(self._waiting[start:]):
                features = torch.cat([batch.features_BM for batch in waiting])
                for block in torch.split(features, self._gather):
                    self._add_to_panels(panels, block, sign=sign)
        self._in_panel[:num_panels] = [len(self._waiting)] * num_panels

    def _flush_class_sums(self) -> None:
        waiting = self._waiting[self._in_class_sums :]
        self._in_class_sums = len(self._waiting)
        for sign, batches in _by_sign(waiting):
            features = torch.cat([batch.features_BM for batch in batches])
            classes = torch.cat([batch.classes_N for batch in batches])
            starts = accumulate((len(batch.features_BM) for batch in batches), initial=0)
            rows = torch.cat([batch.rows_N + start for batch, start in zip(batches, starts, strict=False)])
            for start in range(0, len(features), self._gather):
                block = features[start : start + self._gather]
                is_in = (rows >= start) & (rows < start + len(block))
                self._add_to_class_sums(block, classes[is_in], rows[is_in] - start, sign=sign)

    def _add_to_panels(self, panels: Iterable[int], features_BM: torch.Tensor, *, sign: int) -> None:
        features_MB = features_BM.T.contiguous()
        for k in panels:
            start = k * PANEL_ROWS
            stop = start + len(self._panels[k])
            product = int8_product(features_MB[start:stop], features_BM[:, :stop])
            self._panels[k].add_(product, alpha=sign)

    def _add_to_class_sums(
        self, features_BM: torch.Tensor, classes_N: torch.Tensor, rows_N: torch.Tensor, *, sign: int
    ) -> None:
        # Only rows of classes that the examples have are touched, however many there are.
        present_U, which_N = torch.unique(classes_N.to(self._device), return_inverse=True)
        members_UB = torch.zeros(len(present_U), len(features_BM), dtype=torch.int8, device=self._device)
        members_UB[which_N, rows_N.to(self._device)] = 1
        sums_UM = int8_product(members_UB, features_BM).to(torch.int64)
        self._class_rows.index_add_(0, present_U, sums_UM, alpha=sign)


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    """Examples that were added (sign 1) or taken out (-1), and are not in the sums yet."""

    features_BM: torch.Tensor
    classes_N: torch.Tensor
    rows_N: torch.Tensor
    sign: int


def _by_sign(batches: Sequence[_Batch]) -> Iterator[tuple[int, list[_Batch]]]:
    """Those that were added, then those that were taken out; no empty ones."""
    for sign in (1, -1):
        found = [batch for batch in batches if batch.sign == sign]
        if found:
            yield sign, found


def _rows(rows_N: torch.Tensor | None, features_BM: torch.Tensor) -> torch.Tensor:
    return torch.arange(len(features_BM)) if rows_N is None else rows_N


def panel_rows(features_BM: torch.Tensor) -> Iterator[torch.Tensor]:
    """G of few examples without room for it: int64 rows of its panels, one panel after the other."""
    num_features = features_BM.shape[1]
    features_MB = features_BM.T.contiguous()
    for start in range(0, num_features, PANEL_ROWS):
        stop = min(start + PANEL_ROWS, num_features)
        left_of_stop = features_BM[:, :stop].contiguous()
        for first in range(start, stop, _ROWS_AT_ONCE):
            rows = features_MB[first : min(first + _ROWS_AT_ONCE, stop)]
            yield int8_product(rows, left_of_stop).to(torch.int64)


def _narrowed(sums: torch.Tensor) -> torch.Tensor:
    limit = torch.iinfo(torch.int32).max
    fits = not sums.numel() or (int(sums.max()) <= limit and int(sums.min()) >= -limit)
    return sums.to(torch.int32) if fits else sums.clone()
