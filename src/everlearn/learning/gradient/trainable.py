"""Which parameters below the head are trained."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from everlearn.errors import ConfigError, MissingExtraError
from everlearn.learning.gradient.body import Body
from everlearn.learning.gradient.config import GradientConfig

__all__ = ["select_trainable_parameters"]


def select_trainable_parameters(body: Body, config: GradientConfig) -> None:
    """Set ``requires_grad`` of the body's parameters as ``config.trainable`` says, in place.

    For "lora" adapters are added first. Everything that is not trained is frozen, so nothing below
    the lowest trained layer is part of the backward pass.

    Raises:
        ConfigError: The network has no such part.
        MissingExtraError: "lora" without peft.
    """
    network = body.network
    part = config.trainable_part
    network.requires_grad_(part == "all")
    match part:
        case "all" | "head":
            pass
        case "embeddings":
            _embeddings(network).requires_grad_(True)
        case "layers":
            first, last = config.trainable_layers
            layers = _layers(network, body.num_layers)
            if last >= len(layers):
                raise ConfigError(
                    f"trainable: this model has layers 0 to {len(layers) - 1}, not {config.trainable!r}"
                )
            for layer in layers[first : last + 1]:
                layer.requires_grad_(True)
        case "lora":
            _add_lora(network, config)


def _embeddings(network: nn.Module) -> nn.Module:
    # Words, positions and their norm belong together; encoders keep them in one child of this name.
    for name, child in network.named_children():
        if name == "embeddings":
            return child
    for module in network.modules():
        if isinstance(module, nn.Embedding):
            return module
    raise ConfigError("trainable cannot be 'embeddings': the network has no embedding")


def _layers(network: nn.Module, num_layers: int) -> nn.ModuleList:
    for module in network.modules():
        if isinstance(module, nn.ModuleList) and len(module) == num_layers > 0:
            return module
    raise ConfigError(f"trainable cannot be layers: the network has no list of {num_layers} encoder layers")


def _linear_names(network: nn.Module) -> Iterator[str]:
    for name, module in network.named_modules():
        # A pooler is not part of the token states that are pooled here.
        if isinstance(module, nn.Linear) and not name.startswith("pooler"):
            yield name


def _add_lora(network: nn.Module, config: GradientConfig) -> None:
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise MissingExtraError("peft", "lora") from error
    modules = list(config.lora_modules or _linear_names(network))
    lora = LoraConfig(r=config.lora_rank, lora_alpha=config.lora_alpha, target_modules=modules)
    device = next(network.parameters()).device
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(config.seed)
        try:
            inject_adapter_in_model(lora, network)
        except ValueError as error:
            raise ConfigError(f"lora_modules {modules!r} are not in the network: {error}") from error
    for name, parameter in network.named_parameters():
        parameter.requires_grad_("lora_" in name)
