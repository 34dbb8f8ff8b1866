"""Codes of texts of which each may have an adapter of its own, made in one pass."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import torch

from everlearn.models.encoder.adapter_bank import AdapterBank
from everlearn.models.encoder.coder import CoderConfig, TextCoder
from everlearn.models.encoder.forward import RowForward
from everlearn.models.encoder.rows import SMALLEST_PACKED_WIDTH, RowBatch, plan_packed
from everlearn.types import Code

__all__ = ["AdaptedCoder"]

_TEXTS_EACH = 16
"""Where each adapter has so many texts, one is run after the other: that costs no more than without."""


class AdaptedCoder(TextCoder):
    """Encodes texts by a trunk and adapters.

    Args:
        bank: Adapters, and the trunk.
        config: Settings.
    """

    def __init__(self, bank: AdapterBank, config: CoderConfig | None = None) -> None:
        super().__init__(bank.trunk, config)
        self._bank = bank

    def encode_each(self, texts: Sequence[str], adapters: Sequence[str | None]) -> list[Code]:
        """Encode texts, each by its adapter, by the bank's names; None: by the trunk alone.

        Raises:
            ModelError: A model gave something that is not a finite number.
            KeyError: The bank holds no such adapter.
        """
        if not texts:
            return []
        if missing := next((name for name in adapters if name is not None and name not in self._bank), None):
            raise KeyError(missing)
        with self._lock:
            start = time.perf_counter()
            codes = self._codes(texts, self._pool_each(texts, adapters))
            self.seconds += time.perf_counter() - start
            return codes

    def _pool_each(self, texts: Sequence[str], adapters: Sequence[str | None]) -> torch.Tensor:
        groups: dict[str | None, list[int]] = {}
        for place, name in enumerate(adapters):
            groups.setdefault(name, []).append(place)
        if len(groups) > 1 and len(texts) < _TEXTS_EACH * len(groups):
            return self._pool_mixed(texts, adapters)
        pooled_NKD = torch.empty(len(texts), len(self._layers), self.trunk.hidden_size)
        for name, places in groups.items():
            with self._bank.using(name):
                pooled_NKD[places] = self.pool([texts[place] for place in places])
        return pooled_NKD

    def _pool_mixed(self, texts: Sequence[str], adapters: Sequence[str | None]) -> torch.Tensor:
        token_ids, owners = self._tokenize(texts)
        forward = self._row_forward()
        of_sequence = [adapters[owner] for owner in owners] if owners else adapters

        def passes() -> Iterator[tuple[RowBatch, torch.Tensor]]:
            for batch in self._plan_mixed([len(sequence) for sequence in token_ids], forward):
                names = [of_sequence[sequence] for sequence in batch.sequences.tolist()]
                with self._bank.using_by_text(names, batch):
                    yield batch, forward.pooled(batch, token_ids, self._layers)

        return self._pooled(len(texts), token_ids, owners, passes())

    def _plan_mixed(self, lengths: Sequence[int], forward: RowForward) -> list[RowBatch]:
        if self.config.batch_invariant or forward.first_position is None or len(lengths) < 2:
            return self._plan(lengths, forward)
        # The fuller a row, the more adapters stand side by side in all rows.
        usual = int(SMALLEST_PACKED_WIDTH * len(lengths) / sum(lengths))
        budget, width = self.config.token_budget, self.trunk.max_length
        return plan_packed(lengths, budget, width, most_in_row=max(2, usual))
