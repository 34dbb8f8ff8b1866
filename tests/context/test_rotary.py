from __future__ import annotations

import pytest
import torch
from tests.context.tiny_models import ROTARY, built, gpt2, gptj, llama
from torch import Tensor, nn

from everlearn.context.decoder import decoder_of
from everlearn.context.rotary import find_rotations


def first_layer_keys(model: nn.Module, ids_L: Tensor, first: int) -> list[Tensor]:
    position_ids = torch.arange(first, first + len(ids_L))[None]
    with torch.no_grad():
        output = decoder_of(model)(input_ids=ids_L[None], position_ids=position_ids, use_cache=True)
    return [layer.keys for layer in output.past_key_values.layers]


@pytest.mark.parametrize("name", ROTARY)
@pytest.mark.parametrize("shift", [-20, 1, 100])
def test_turning_a_key_equals_computing_it_elsewhere(name: str, shift: int) -> None:
    # Gemma's own cache of layers with a sliding window would drop the first keys.
    settings = {"sliding_window": 64} if name == "gemma3" else {}
    model, ids = ROTARY[name](**settings), torch.arange(1, 31)
    rotations = find_rotations(model)
    assert rotations is not None
    before, after = first_layer_keys(model, ids, 40), first_layer_keys(model, ids, 40 + shift)
    for rotation, here, there in zip(rotations, before, after, strict=True):
        turned = rotation.turn(here, rotation.angles(torch.full((1, 30), shift), here.dtype))
        torch.testing.assert_close(turned, there, atol=1e-4, rtol=0)
        unmoved = rotation.angles(torch.zeros(1, 30, dtype=torch.long), here.dtype)
        assert torch.equal(rotation.turn(here, unmoved), here)


def test_what_is_found() -> None:
    found = find_rotations(llama())
    assert found is not None
    assert found[0] is found[1]
    assert (found[0].first, found[0].pairing) == (0, "halves")
    expected = 10_000.0 ** -(torch.arange(0, 16, 2).double() / 16)
    torch.testing.assert_close(found[0].frequencies_F, expected, atol=0, rtol=1e-6)
    found = find_rotations(gptj(rotary_dim=8))
    assert found is not None
    assert (found[0].pairing, len(found[0].frequencies_F)) == ("neighbours", 4)
    expected = 10_000.0 ** -(torch.arange(0, 8, 2).double() / 8)
    torch.testing.assert_close(found[0].frequencies_F, expected, atol=1e-7, rtol=1e-5)
    assert find_rotations(gpt2()) is None


def test_layers_may_turn_by_other_frequencies() -> None:
    found = find_rotations(ROTARY["gemma3"]())
    assert found is not None
    assert not found[0].same_as(found[1])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_types(dtype: torch.dtype) -> None:
    found = find_rotations(built(llama().config, dtype))
    assert found is not None
    expected = 10_000.0 ** -(torch.arange(0, 16, 2).double() / 16)
    torch.testing.assert_close(found[0].frequencies_F, expected, atol=0, rtol=1e-6)


@pytest.mark.parametrize("name", ["llama", "gptj"])
def test_bfloat16_with_dimensions_of_very_different_size(name: str) -> None:
    model = built(ROTARY[name]().config, torch.bfloat16)
    torch.manual_seed(1)
    for parameter_name, weight in model.named_parameters():
        if "k_proj" in parameter_name:
            # Most dimensions are lost in the rounding of the largest.
            weight.data *= torch.logspace(-2, 0, len(weight))[torch.randperm(len(weight)), None]
    found = find_rotations(model)
    expected = find_rotations(ROTARY[name]())
    assert found is not None
    assert expected is not None
    assert (found[1].first, found[1].pairing) == (0, expected[1].pairing)
    tolerance = 0.0 if name == "llama" else 5e-3
    torch.testing.assert_close(
        found[1].frequencies_F, expected[1].frequencies_F, atol=tolerance, rtol=1e-9 + tolerance
    )


def test_modes_are_left_as_they_were() -> None:
    model = llama().train()
    decoder_of(model).norm.eval()
    find_rotations(model)
    assert model.training
    assert not decoder_of(model).norm.training
