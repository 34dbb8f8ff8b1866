"""Directions and sketches against dense decompositions in double precision."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from everlearn.methods.held_directions import (
    Directions,
    HeldDirections,
    adapter_factor,
    extend_directions,
    leading_directions,
    range_of,
)
from everlearn.methods.input_sketch import InputSketch, sketching_matrix


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def projection(directions: Directions) -> Tensor:
    return directions.basis_KD.double().T @ directions.basis_KD.double()


@pytest.mark.parametrize("energy", [0.5, 0.9, 1.0])
def test_directions_are_the_leading_eigenvectors(energy: float) -> None:
    inputs = draw(200, 12) * torch.linspace(2.0, 0.1, 12, dtype=torch.float64)
    values, vectors = torch.linalg.eigh(inputs.T @ inputs)
    values, vectors = values.flip(0), vectors.flip(1)
    shares = torch.cumsum(values, 0) / values.sum()
    rank = 1 + int((shares < energy - 1e-12).sum())
    total = inputs.square().sum()
    found = extend_directions(Directions.none(12), inputs.T, total, energy=energy, max_rank=12)
    assert len(found) == rank
    torch.testing.assert_close(projection(found), vectors[:, :rank] @ vectors[:, :rank].T)
    torch.testing.assert_close(found.shares_K, values[:rank] / values.sum())


def test_held_directions_count_and_only_what_is_missing_is_added() -> None:
    inputs = draw(50, 8)
    total = inputs.square().sum()
    held = extend_directions(
        Directions.none(8), draw(8, 2, seed=1), torch.tensor(1e3), energy=1.0, max_rank=8
    )
    assert len(held) == 2
    more = extend_directions(held, inputs.T, total, energy=0.8, max_rank=8)
    torch.testing.assert_close(more.basis_KD[:2].abs(), held.basis_KD.abs())
    reached = (inputs @ more.basis_KD.T).square().sum() / total
    without_last = (inputs @ more.basis_KD[:-1].T).square().sum() / total
    assert reached >= 0.8 > without_last
    same = extend_directions(more, inputs.T, total, energy=0.8, max_rank=8)
    assert len(same) == len(more)


def test_those_with_the_smallest_shares_go() -> None:
    factor = torch.diag(torch.tensor([3.0, 1.0, 2.0, 0.5], dtype=torch.float64))
    total = factor.square().sum()
    found = extend_directions(Directions.none(4), factor, total, energy=1.0, max_rank=2)
    torch.testing.assert_close(projection(found), torch.diag(torch.tensor([1.0, 0.0, 1.0, 0.0])).double())
    nothing = extend_directions(found, torch.zeros_like(factor), torch.tensor(0.0), energy=1.0, max_rank=2)
    torch.testing.assert_close(projection(nothing), projection(found))


def test_a_factor_of_an_adapter_has_its_norms() -> None:
    down, up, directions = draw(3, 9), draw(7, 3, seed=1), draw(9, 20, seed=2)
    factor = adapter_factor(down, up)
    torch.testing.assert_close((factor.T @ directions).norm(dim=0), (up @ down @ directions).norm(dim=0))


def test_enforcing_gives_the_nearest_matrix_with_the_images() -> None:
    matrix, moved = draw(5, 8), draw(5, 8, seed=1)
    directions = extend_directions(
        Directions.none(8), draw(8, 3, seed=2), torch.tensor(1e3), energy=1.0, max_rank=8
    )
    held = HeldDirections.of(matrix, directions)
    enforced = held.enforced(moved)
    torch.testing.assert_close(enforced @ directions.basis_KD.T, matrix @ directions.basis_KD.T)
    # The nearest: the correction lies in the held directions, where there was no choice.
    rest = torch.eye(8, dtype=torch.float64) - projection(directions)
    torch.testing.assert_close((enforced - moved) @ rest, torch.zeros(5, 8, dtype=torch.float64))
    assert held.deviation(enforced).abs().max() < 1e-12
    assert (held.without(moved) @ directions.basis_KD.T).abs().max() < 1e-12


def test_leading_directions_and_ranges() -> None:
    matrix = draw(6, 9) @ torch.diag(torch.linspace(3, 0.1, 9, dtype=torch.float64))
    left, _, right = torch.linalg.svd(matrix)
    inputs, outputs = leading_directions(matrix, energy=1.0, max_rank=4)
    torch.testing.assert_close(projection(inputs), right[:4].T @ right[:4])
    torch.testing.assert_close(projection(outputs), left[:, :4] @ left[:, :4].T)
    assert [len(one) for one in leading_directions(torch.zeros(3, 4), energy=0.9, max_rank=4)] == [0, 0]
    assert len(range_of(matrix[:, :2] @ draw(2, 5))) == 2
    assert len(range_of(torch.zeros(4, 3))) == len(range_of(torch.zeros(4, 0))) == 0


def test_a_sketch_of_few_directions_is_exact_and_adds_up() -> None:
    inputs = (draw(300, 6) @ draw(6, 40, seed=1)).float()
    matrix = sketching_matrix(40, 12, seed=3)
    assert matrix.shape == (40, 12)
    sketch = InputSketch.of(inputs[:100], matrix)
    sketch.add(InputSketch.of(inputs[100:], matrix))
    factor = sketch.factor(matrix)
    gram = inputs.double().T @ inputs.double()
    torch.testing.assert_close(factor @ factor.T, gram, rtol=0, atol=1e-3 * float(gram.abs().max()))
    assert float(sketch.total) == pytest.approx(float(gram.trace()), rel=1e-6)


def test_a_sketch_finds_the_leading_directions_of_many() -> None:
    scales = 0.7 ** torch.arange(60)
    inputs = (draw(2_000, 60) * scales @ torch.linalg.qr(draw(60, 60, seed=5)).Q).float()
    matrix = sketching_matrix(60, 16, seed=3)
    sketch = InputSketch.of(inputs, matrix)
    found = extend_directions(
        Directions.none(60), sketch.factor(matrix), sketch.total, energy=0.95, max_rank=8
    )
    values = torch.linalg.eigvalsh(inputs.double().T @ inputs.double()).flip(0)
    best = float(values[: len(found)].sum() / values.sum())
    reached = float((inputs.double() @ found.basis_KD.T).square().sum() / values.sum())
    assert reached > best - 0.005
    assert reached > 0.95
    assert torch.equal(sketching_matrix(5, 16, seed=0), torch.eye(5))
