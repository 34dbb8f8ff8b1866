"""Which parameters of an encoder-decoder are trained."""

from __future__ import annotations

from typing import Any

from torch import nn

from everlearn.errors import ConfigError
from everlearn.learning.gradient.config import GradientConfig
from everlearn.learning.gradient.trainable import select_trainable_parameters

__all__ = ["select_seq2seq_parameters"]


def select_seq2seq_parameters(model: nn.Module, config: GradientConfig) -> None:
    """Set ``requires_grad`` as ``config.trainable`` says, in place; for "lora" adapters are added first.

    Args:
        model: A transformers model with an encoder and a decoder.
        config: Which part. Layers count on both sides.

    Raises:
        ConfigError: The model has no such part.
        MissingExtraError: "lora" without peft.
    """
    part = config.trainable_part
    if part == "layers":
        model.requires_grad_(False)
        for name in _chosen_layers(model, config):
            model.get_submodule(name).requires_grad_(True)
    elif part == "lora" and config.trainable_layers is not None:
        modules = config.lora_modules or _linear_names(model, config)
        select_trainable_parameters(model, 0, config.replace(trainable="lora", lora_modules=tuple(modules)))
    else:
        select_trainable_parameters(model, 0, config)
    if part in ("encoder", "decoder"):
        # Training a shared table from one side would change the other one as well.
        for parameter in _parameters_of_others(model, part):
            parameter.requires_grad_(False)
    for module in model.modules():
        # Computed positions are kept as weights by some models.
        if isinstance(module, nn.Embedding) and "Sinusoidal" in type(module).__name__:
            module.requires_grad_(False)


def _stacks(model: nn.Module) -> dict[str, nn.Module]:
    base: Any = getattr(model, "model", model)
    stacks = {name: getattr(base, name, None) for name in ("encoder", "decoder")}
    if not all(isinstance(stack, nn.Module) for stack in stacks.values()):
        raise ConfigError(f"{type(model).__name__} has no encoder and decoder to choose parts of")
    return {name: stack for name, stack in stacks.items() if isinstance(stack, nn.Module)}


def _chosen_layers(model: nn.Module, config: GradientConfig) -> list[str]:
    """Names of the chosen layers' modules, of both sides."""
    chosen = config.trainable_layers
    assert chosen is not None
    names = {id(module): name for name, module in model.named_modules()}
    layers = []
    for stack in _stacks(model).values():
        # The first list of a stack holds its layers; further lists lie within these.
        found = next((module for module in stack.modules() if isinstance(module, nn.ModuleList)), None)
        if found is None:
            raise ConfigError(
                f"trainable cannot be {config.trainable!r}: {type(model).__name__} has no layers"
            )
        layers += [names[id(layer)] for layer in found[chosen[0] : chosen[1] + 1]]
        if chosen[1] >= len(found):
            raise ConfigError(
                f"trainable: this model has layers 0 to {len(found) - 1}, not {config.trainable!r}"
            )
    return layers


def _linear_names(model: nn.Module, config: GradientConfig) -> list[str]:
    return [
        f"{layer}.{name}"
        for layer in _chosen_layers(model, config)
        for name, module in model.get_submodule(layer).named_modules()
        if isinstance(module, nn.Linear)
    ]


def _parameters_of_others(model: nn.Module, part: str) -> list[nn.Parameter]:
    others: list[nn.Module] = [stack for name, stack in _stacks(model).items() if name != part]
    transformer: Any = model
    output = transformer.get_output_embeddings()
    if isinstance(output, nn.Module):
        others.append(output)
    return [parameter for module in others for parameter in module.parameters()]
