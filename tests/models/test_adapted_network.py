"""What is tuned starts as the adapter that it is begun with, whatever room it has beside that."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.models.test_adapter_bank import ALL_LINEAR, QUERY_VALUE, adapter_of
from tests.runtime.word_pairs import write_encoder

from everlearn.learning.consolidation.network import AdaptedNetwork
from everlearn.models.encoder.load import load_trunk
from everlearn.models.storage.adapters import merge_adapter

TOKENS = [[2, 5, 6, 7, 3], [2, 9, 3]]


@pytest.mark.parametrize(("rank", "targets"), [(3, ALL_LINEAR), (2, ALL_LINEAR), (3, QUERY_VALUE)])
def test_a_smaller_adapter_is_where_it_starts(tmp_path: Path, rank: int, targets: list[str]) -> None:
    encoder = str(write_encoder(tmp_path / "encoder"))
    trunk = load_trunk(encoder, dtype="float32", device="cpu")
    start = adapter_of(trunk, 1, rank, targets)
    found = AdaptedNetwork(trunk, 3, 0, start).unit_vectors(TOKENS, (1, 2))
    merged = merge_adapter(load_trunk(encoder, dtype="float32", device="cpu"), start, torch.float32)
    expected = AdaptedNetwork(merged, 1, 0).unit_vectors(TOKENS, (1, 2))
    plain = AdaptedNetwork(trunk, 3, 0).unit_vectors(TOKENS, (1, 2))
    for one, other, without in zip(found, expected, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)
        assert not torch.allclose(one, without, rtol=0, atol=0.01)


def test_one_that_does_not_fit_in_is_no_start(tmp_path: Path) -> None:
    trunk = load_trunk(str(write_encoder(tmp_path / "encoder")), dtype="float32", device="cpu")
    found = AdaptedNetwork(trunk, 3, 0, adapter_of(trunk, 1, 4, ALL_LINEAR)).unit_vectors(TOKENS, (1, 2))
    plain = AdaptedNetwork(trunk, 3, 0).unit_vectors(TOKENS, (1, 2))
    for one, without in zip(found, plain, strict=True):
        assert torch.equal(one, without)
