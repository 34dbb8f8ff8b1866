"""Codes of texts of which each may have an adapter of its own, made in one pass."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property

import torch

from everlearn.models.encoder.adapter_bank import AdapterBank
from everlearn.models.encoder.coder import CoderConfig, TextCoder
from everlearn.models.encoder.forward import RowForward
from everlearn.models.encoder.rows import SMALLEST_PACKED_WIDTH, RowBatch, plan_packed
from everlearn.types import Code

__all__ = ["AdaptedCoder", "OneAdapterCoder", "encode_together"]

_TEXTS_EACH = 16
"""Where each adapter has so many texts, one is run after the other: that costs no more than without."""


class AdaptedCoder(TextCoder):
    """Encodes texts by a trunk and adapters.

    Args:
        bank: Adapters, and the trunk.
        config: Settings.

    Attributes:
        bank: As given.
    """

    def __init__(self, bank: AdapterBank, config: CoderConfig | None = None) -> None:
        super().__init__(bank.trunk, config)
        self.bank = bank
        self._lock = bank.turns

    @cached_property
    def vocabulary_sha256(self) -> str:
        """Of the trunk's vocabulary."""
        return self._vocabulary_sha256()

    def encode_each(self, texts: Sequence[str], adapters: Sequence[str | None]) -> list[Code]:
        """Encode texts, each by its adapter, by the bank's names; None: by the trunk alone.

        Raises:
            ModelError: A model gave something that is not a finite number.
            KeyError: The bank holds no such adapter.
        """
        if not texts:
            return []
        if missing := next((name for name in adapters if name is not None and name not in self.bank), None):
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
        # In company products are summed in another order, so the last bits would depend on it.
        is_mixed = len(groups) > 1 and not self.config.batch_invariant
        if is_mixed and len(texts) < _TEXTS_EACH * len(groups):
            return self._pool_mixed(texts, adapters)
        pooled_NKD = torch.empty(len(texts), len(self._layers), self.trunk.hidden_size)
        for name, places in groups.items():
            with self.bank.using(name):
                pooled_NKD[places] = self.pool([texts[place] for place in places])
        return pooled_NKD

    def _pool_mixed(self, texts: Sequence[str], adapters: Sequence[str | None]) -> torch.Tensor:
        token_ids, owners = self._tokenize(texts)
        forward = self._row_forward()
        of_sequence = [adapters[owner] for owner in owners] if owners else adapters

        def passes() -> Iterator[tuple[RowBatch, torch.Tensor]]:
            for batch in self._plan_mixed([len(sequence) for sequence in token_ids], forward):
                names = [of_sequence[sequence] for sequence in batch.sequences.tolist()]
                with self.bank.using_by_text(names, batch):
                    yield batch, forward.pooled(batch, token_ids, self._layers)

        return self._pooled(len(texts), token_ids, owners, passes())

    def _plan_mixed(self, lengths: Sequence[int], forward: RowForward) -> list[RowBatch]:
        if forward.first_position is None or len(lengths) < 2:
            return self._plan(lengths, forward)
        # The fuller a row, the more adapters stand side by side in all rows.
        usual = int(SMALLEST_PACKED_WIDTH * len(lengths) / sum(lengths))
        budget, width = self.config.token_budget, self.trunk.max_length
        return plan_packed(lengths, budget, width, most_in_row=max(2, usual))


class OneAdapterCoder(TextCoder):
    """Encodes all texts by one adapter.

    Args:
        mixed: Encodes by this adapter and others.
        adapter: Its name in the bank: the SHA-256 of the trunk's weights with its own added.

    Attributes:
        mixed: As given.
        adapter: As given.
    """

    def __init__(self, mixed: AdaptedCoder, adapter: str) -> None:
        super().__init__(replace(mixed.trunk, sha256=adapter), mixed.config)
        self.mixed, self.adapter = mixed, adapter
        self._lock = mixed.bank.turns

    def _vocabulary_sha256(self) -> str:
        return self.mixed.vocabulary_sha256  # reading a vocabulary through takes longer than an adapter

    def _pool(self, texts: Sequence[str]) -> torch.Tensor:
        with self.mixed.bank.using(self.adapter):
            return self.mixed.pool(texts)


def encode_together(texts: Sequence[str], coders: Sequence[TextCoder]) -> list[Code]:
    """Encode texts, each by its own coder; those of one trunk in one pass.

    Args:
        texts: N texts.
        coders: N coders.

    Raises:
        ModelError: A model gave something that is not a finite number.
    """
    places: dict[TextCoder, list[int]] = {}
    for place, coder in enumerate(coders):
        places.setdefault(coder.mixed if isinstance(coder, OneAdapterCoder) else coder, []).append(place)
    found: dict[int, Code] = {}
    for coder, own in places.items():
        some = [texts[place] for place in own]
        if isinstance(coder, AdaptedCoder):
            users = [coders[place] for place in own]
            names = [user.adapter if isinstance(user, OneAdapterCoder) else None for user in users]
            found |= zip(own, coder.encode_each(some, names), strict=True)
        else:
            found |= zip(own, coder.encode(some), strict=True)
    return [found[place] for place in range(len(texts))]
