"""The direct forward pass of LoRA layers against peft's own."""

import copy

import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import nn

from everlearn.learning.gradient.lora_forward import use_direct_lora_forward


def _network(**settings: object) -> nn.Module:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5)).double()
    inject_adapter_in_model(LoraConfig(r=2, lora_alpha=6, target_modules=["0", "2"], **settings), network)  # type: ignore[arg-type]
    for name, parameter in network.named_parameters():
        parameter.data = torch.randn_like(parameter.data)
        parameter.requires_grad_("lora_" in name)
    return network.double()


def test_outputs_and_gradients_equal_pefts() -> None:
    network = _network()
    inputs = torch.randn(3, 4, 6, dtype=torch.float64, requires_grad=True)
    leaves = [inputs, *(one for one in network.parameters() if one.requires_grad)]
    expected = network(inputs)
    gradients = torch.autograd.grad(expected.square().sum(), leaves)
    assert use_direct_lora_forward(network) == 2
    outputs = network(inputs)
    torch.testing.assert_close(outputs, expected)
    for one, wanted in zip(torch.autograd.grad(outputs.square().sum(), leaves), gradients, strict=True):
        torch.testing.assert_close(one, wanted)


def test_reduced_precision_is_close_to_pefts() -> None:
    network = _network().float()
    inputs = torch.randn(64, 6)
    with torch.autocast("cpu", torch.bfloat16):
        expected = network(inputs)
        use_direct_lora_forward(network)
        outputs = network(inputs)
    assert outputs.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(outputs.float(), expected.float(), atol=0.3, rtol=0.05)


def test_without_autocast_adapters_of_another_precision_are_converted_by_peft() -> None:
    network = _network().to(torch.bfloat16)
    for name, parameter in network.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.float()
    inputs = torch.randn(4, 6, dtype=torch.bfloat16)
    expected = network(inputs)
    use_direct_lora_forward(network)
    assert torch.equal(network(inputs), expected)


def test_a_copy_runs_its_own_layers() -> None:
    network = _network()
    use_direct_lora_forward(network)
    other = copy.deepcopy(network)
    inputs = torch.randn(2, 6, dtype=torch.float64)
    before = network(inputs)
    for parameter in other.parameters():
        parameter.data.zero_()
    assert not other(inputs).any()
    torch.testing.assert_close(network(inputs), before)


def test_layers_that_are_not_plain_keep_pefts_way() -> None:
    assert use_direct_lora_forward(_network(lora_dropout=0.1)) == 0
    assert use_direct_lora_forward(_network(use_dora=True)) == 0


def test_a_model_may_go_on_in_place() -> None:
    network = _network()
    use_direct_lora_forward(network)
    inputs = torch.randn(2, 3, 6, dtype=torch.float64)
    expected = network[0](inputs) / 3  # type: ignore[index]
    divided = network[0](inputs)  # type: ignore[index]
    divided.view(6, 8)[:, :4] /= 3
    divided[..., 4:] /= 3
    torch.testing.assert_close(divided, expected)
    result = network(inputs)
    result /= 2
    result.sum().backward()
    assert all(one.grad is not None for one in network.parameters() if one.requires_grad)
