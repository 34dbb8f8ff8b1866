from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from everlearn.errors import ConfigError, InputError
from everlearn.models.encoder.vectors import VectorCoder

ARRAYS = arrays(np.float64, (4, 6), elements=st.floats(allow_nan=False, allow_infinity=False))


@given(ARRAYS)
def test_any_finite_vector_has_a_code(vectors: np.ndarray) -> None:
    for coder in (
        VectorCoder(6),
        VectorCoder(6, normalize=False),
        VectorCoder(6, normalize=False, scale=1e8),
    ):
        codes = coder.encode(vectors)
        assert len(codes) == 4
        for code in codes:
            assert code.dense.dtype == np.int8
            assert code.dense.shape == (coder.dense_size,)
            assert int(code.dense.min()) >= -127
            assert len(code.gram_ids) == len(code.gram_values) == 0


def test_normalised_codes_err_by_half_a_step() -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 64))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    decoded = np.stack([code.dense for code in VectorCoder(64).encode(vectors)]) / (20 * 8)
    assert np.abs(decoded - unit).max() <= 1 / (2 * 20 * 8) + 1e-12
    rescaled = VectorCoder(64).encode(1e-200 * vectors)
    assert rescaled == VectorCoder(64).encode(vectors)


def test_squashed_codes_follow_the_formula() -> None:
    vectors = np.random.default_rng(1).normal(size=(50, 5)) * 3
    for scale in (0.1, 1.0, 7.0):
        scaled = scale * vectors
        expected = np.rint(scaled / np.sqrt(1 + (scaled / 4) ** 2) * 127 / 4)
        codes = VectorCoder(5, normalize=False, scale=scale).encode(vectors)
        np.testing.assert_array_equal([code.dense[:5] for code in codes], expected)
        assert all(code.dense[5] == 64 for code in codes)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_name_the_row(value: float) -> None:
    vectors = np.zeros((3, 2))
    vectors[1, 0] = value
    with pytest.raises(InputError, match="row 1"):
        VectorCoder(2).encode(vectors)


@pytest.mark.parametrize("vectors", [np.zeros(2), np.zeros((2, 3)), [["a", "b"]], [[1.0, 2.0], [1.0]]])
def test_other_shapes_are_refused(vectors: object) -> None:
    with pytest.raises(InputError, match="vectors"):
        VectorCoder(2).encode(vectors)  # type: ignore[arg-type]


def test_an_empty_batch_and_a_zero_vector() -> None:
    assert VectorCoder(2).encode([]) == []
    assert VectorCoder(2).encode(np.zeros((0, 2))) == []
    assert VectorCoder(2).encode(np.zeros((1, 2)))[0].dense.tolist() == [0, 0]


def test_settings_are_checked_and_identified() -> None:
    with pytest.raises(ConfigError, match="num_features: 0"):
        VectorCoder(0)
    with pytest.raises(ConfigError, match=r"scale: 2\.0"):
        VectorCoder(3, scale=2.0)
    with pytest.raises(ConfigError, match="scale: nan"):
        VectorCoder(3, normalize=False, scale=float("nan"))
    coders = [
        VectorCoder(3),
        VectorCoder(4),
        VectorCoder(3, normalize=False),
        VectorCoder(3, normalize=False, scale=2),
    ]
    assert len({coder.fingerprint for coder in coders}) == 4
    assert VectorCoder(3, normalize=False, scale=1).fingerprint == coders[2].fingerprint
