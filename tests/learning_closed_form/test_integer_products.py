from __future__ import annotations

import hashlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from everlearn.learning.closed_form import integer_products
from everlearn.learning.closed_form.features import FeatureMap, _projection
from everlearn.learning.closed_form.integer_products import Int8Factor, int8_product, int8_row_products


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(0, 70),
    terms=st.integers(1, 2600),
    columns=st.integers(0, 70),
    seed=st.integers(0, 2**31),
)
def test_product_is_exact_on_both_paths(rows: int, terms: int, columns: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    left = torch.randint(-127, 128, (rows, terms), generator=generator, dtype=torch.int8)
    right = torch.randint(-127, 128, (terms, columns), generator=generator, dtype=torch.int8)
    exact = left.to(torch.int64) @ right.to(torch.int64)
    assert torch.equal(int8_product(left, right).to(torch.int64), exact)
    assert torch.equal(integer_products._by_float32(left, right).to(torch.int64), exact)


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(0, 140),
    terms=st.integers(1, 2600),
    others=st.integers(0, 70),
    largest=st.integers(1, 127),
    seed=st.integers(0, 2**31),
)
def test_products_of_rows_are_exact_on_both_paths(
    rows: int, terms: int, others: int, largest: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    left = torch.randint(-127, 128, (rows, terms), generator=generator, dtype=torch.int8)
    right = torch.randint(-largest, largest + 1, (others, terms), generator=generator, dtype=torch.int8)
    exact = left.to(torch.int64) @ right.T.to(torch.int64)
    for is_native_best in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(integer_products, "_is_native_best", lambda _, is_best=is_native_best: is_best)
            assert torch.equal(int8_row_products(left, right).to(torch.int64), exact)


@pytest.mark.parametrize("is_native_best", [True, False])
def test_a_factor_made_ready_gives_the_same(is_native_best: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(integer_products, "_is_native_best", lambda _: is_native_best)
    generator = torch.Generator().manual_seed(0)
    left = torch.randint(-127, 128, (5, 2600), generator=generator, dtype=torch.int8)
    right = torch.randint(-127, 128, (2600, 33), generator=generator, dtype=torch.int8)
    factor = Int8Factor(right)
    assert factor.num_columns == 33
    assert torch.equal(factor.product(left).to(torch.int64), left.to(torch.int64) @ right.to(torch.int64))


def test_products_stay_exact_where_the_application_asks_for_less_precision() -> None:
    left = torch.full((64, 1000), 127, dtype=torch.int8)
    torch.set_float32_matmul_precision("medium")
    try:
        product = integer_products._by_float32(left, left.T)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert bool((product == 127 * 127 * 1000).all())


@pytest.mark.parametrize("sign", [1, -1])
def test_extreme_values_over_long_sums_do_not_saturate(sign: int) -> None:
    left = torch.full((32, 100_000), 127, dtype=torch.int8)
    right = torch.full((100_000, 32), sign * 127, dtype=torch.int8)
    products = (
        int8_product(left, right),
        integer_products._by_float32(left, right),
        int8_row_products(left, right.T),
    )
    for product in products:
        assert bool((product == sign * 127 * 127 * 100_000).all())


def test_projection_is_the_same_on_every_machine() -> None:
    entries = _projection(64, 96, 7)
    digest = hashlib.sha256(entries.numpy().tobytes()).hexdigest()
    assert digest == "c70354cc14d3ff06ebbbbf07a9d35e1001ccb869d3551715c55253be9179b65e"
    large = _projection(500, 500, 0).double()
    assert abs(float(large.mean())) < 0.6
    assert 36 < float(large.std()) < 38


def test_features_fit_in_eight_bits_and_keep_the_code() -> None:
    features = FeatureMap(40, 16, 0, 128, seed=0, device=torch.device("cpu"))
    codes = torch.randint(-127, 128, (50, 40), dtype=torch.int8, generator=torch.Generator().manual_seed(0))
    made = features(codes)
    assert made.shape == (50, 128)
    assert made.dtype is torch.int8
    assert int(made.min()) >= -127
    # The first part of the linear features is the first fifth of the code, untouched.
    assert torch.equal(made[:, :8], codes[:, :8])


def test_a_code_gives_the_same_features_in_any_company() -> None:
    features = FeatureMap(40, 40, 0, 256, seed=3, device=torch.device("cpu"))
    codes = torch.randint(-127, 128, (33, 40), dtype=torch.int8, generator=torch.Generator().manual_seed(1))
    together = features(codes)
    assert torch.equal(torch.cat([features(codes[k : k + 1]) for k in range(33)]), together)
