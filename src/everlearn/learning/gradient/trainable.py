"""Which parameters below the head are trained."""

from __future__ import annotations

import warnings

import torch
from torch import nn

from everlearn.errors import ConfigError, MissingExtraError
from everlearn.learning.gradient.config import GradientConfig
from everlearn.learning.gradient.lora_forward import use_direct_lora_forward
from everlearn.learning.gradient.lora_targets import adaptable_names, are_transposed

__all__ = ["select_trainable_parameters"]


def select_trainable_parameters(network: nn.Module, num_layers: int, config: GradientConfig) -> None:
    """Set ``requires_grad`` of a network's parameters as ``config.trainable`` says, in place.

    For "lora" adapters are added first. Everything that is not trained is frozen, so nothing below
    the lowest trained layer is part of the backward pass.

    Args:
        network: Everything below the head.
        num_layers: Its layers, for ``trainable="layers:K-N"``; 0 where there are none.
        config: Which parts.

    Raises:
        ConfigError: The network has no such part.
        MissingExtraError: "lora" without peft.
    """
    part = config.trainable_part
    network.requires_grad_(part == "all")
    match part:
        case "all" | "head":
            pass
        case "embeddings":
            _embeddings(network).requires_grad_(True)
        case "encoder" | "decoder":
            _side(network, part).requires_grad_(True)
        case "layers":
            for layer in _chosen_layers(network, num_layers, config):
                layer.requires_grad_(True)
        case "lora":
            _add_lora(network, num_layers, config)


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


def _chosen_layers(network: nn.Module, num_layers: int, config: GradientConfig) -> list[nn.Module]:
    chosen = config.trainable_layers
    assert chosen is not None
    layers = _layers(network, num_layers)
    if chosen[1] >= len(layers):
        raise ConfigError(
            f"trainable: this model has layers 0 to {len(layers) - 1}, not {config.trainable!r}"
        )
    return list(layers[chosen[0] : chosen[1] + 1])


def _side(network: nn.Module, part: str) -> nn.Module:
    side: nn.Module | None = getattr(getattr(network, "model", network), part, None)
    if not isinstance(side, nn.Module) or not getattr(
        getattr(network, "config", None), "is_encoder_decoder", False
    ):
        raise ConfigError(f"trainable cannot be {part!r}: the network is no encoder-decoder")
    return side


def _adaptable_names(network: nn.Module, num_layers: int, config: GradientConfig) -> list[str]:
    within: nn.Module | list[nn.Module] = network
    if config.trainable_layers is not None:
        within = _chosen_layers(network, num_layers, config)
    allowed = {
        id(module) for part in (within if isinstance(within, list) else [within]) for module in part.modules()
    }
    get_output = getattr(network, "get_output_embeddings", None)
    output = get_output() if get_output is not None else None
    names = [
        name
        for name, module in network.named_modules()
        # A pooler is not part of the token states that are pooled here; an output layer is as large as the
        # vocabulary, and mostly one with the input embeddings.
        if id(module) in allowed and module is not output and not name.startswith("pooler")
    ]
    return adaptable_names(network, names)


def _add_lora(network: nn.Module, num_layers: int, config: GradientConfig) -> None:
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise MissingExtraError("peft", "lora") from error
    modules = list(config.lora_modules or _adaptable_names(network, num_layers, config))
    if not modules:
        raise ConfigError(
            f"trainable cannot be {config.trainable!r}: {type(network).__name__} has no linear layers that "
            "take adapters; set trainable to 'all' (--train all)"
        )
    lora = LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        target_modules=modules,
        fan_in_fan_out=are_transposed(network, modules),
    )
    device = next(network.parameters()).device
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), warnings.catch_warnings():
        # What peft itself adds to the settings of some experts it may find unused.
        warnings.filterwarnings(
            "ignore", message="The following (rank|alpha)_pattern keys", category=RuntimeWarning
        )
        torch.manual_seed(config.seed)
        try:
            inject_adapter_in_model(lora, network)
        except ValueError as error:
            named = ", ".join(modules[:3]) + (" ..." if len(modules) > 3 else "")
            remedy = (
                "name other lora_modules" if config.lora_modules else "set trainable to 'all' (--train all)"
            )
            raise ConfigError(
                f"no adapters can be put into {named} of {type(network).__name__} ({error}); {remedy}"
            ) from error
    use_direct_lora_forward(network)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_("lora_" in name)
