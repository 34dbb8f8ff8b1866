from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.models.encoder.rows import RowBatch, plan_fixed, plan_packed, plan_single

LENGTHS = st.lists(st.integers(1, 300), max_size=80)


def check_cover(batches: list[RowBatch], lengths: list[int]) -> None:
    """Every sequence has its slots, and no slot has two sequences."""
    placed: list[int] = []
    for batch in batches:
        slots = np.zeros((batch.num_rows, batch.width), np.int64)
        keys = set()
        for sequence, row, segment, offset, length in zip(
            batch.sequences, batch.rows, batch.segments, batch.offsets, batch.lengths, strict=True
        ):
            assert length == lengths[sequence]
            assert offset + length <= batch.width <= 301
            slots[row, offset : offset + length] += 1
            keys.add((int(row), int(segment)))
            placed.append(int(sequence))
        assert slots.max() == 1
        assert len(keys) == len(batch.sequences)
    assert sorted(placed) == list(range(len(lengths)))


@given(LENGTHS, st.integers(1, 4000))
def test_packed(lengths: list[int], token_budget: int) -> None:
    batches = plan_packed(lengths, token_budget, 301)
    check_cover(batches, lengths)
    assert all(b.num_rows == 1 or b.num_rows * b.width <= token_budget for b in batches)


@given(LENGTHS, st.integers(1, 4000))
def test_single(lengths: list[int], token_budget: int) -> None:
    batches = plan_single(lengths, token_budget, 301)
    check_cover(batches, lengths)
    assert all(b.num_rows == 1 or b.num_rows * b.width <= token_budget for b in batches)
    assert all(len(set(b.rows.tolist())) == len(b.rows) for b in batches)


@given(LENGTHS, st.booleans())
def test_fixed(lengths: list[int], spare_row: bool) -> None:
    batches = plan_fixed(lengths, 301, spare_row)
    check_cover(batches, lengths)
    for batch in batches:
        alone = [plan_fixed([int(length)], 301, spare_row)[0] for length in batch.lengths]
        assert {(b.width, b.num_rows) for b in alone} == {(batch.width, batch.num_rows)}
        assert not batch.offsets.any()
        assert not spare_row or batch.rows.max() < batch.num_rows - 1


def test_short_texts_leave_few_slots_empty() -> None:
    lengths = np.random.default_rng(0).integers(4, 20, 256).tolist()
    slots = sum(batch.num_rows * batch.width for batch in plan_packed(lengths, 1024, 256))
    assert slots < 1.05 * sum(lengths)


@pytest.mark.parametrize("plan", [plan_packed, plan_single])
def test_a_long_stream_needs_few_shapes(plan: Callable[[list[int], int, int], list[RowBatch]]) -> None:
    generator = np.random.default_rng(0)
    shapes = {
        (batch.num_rows, batch.width)
        for _ in range(300)
        for batch in plan(generator.geometric(0.05, 256).clip(3, 256).tolist(), 1024, 256)
    }
    assert len(shapes) <= 40
