"""The weights of a model as one without adapters would have them; the model itself is not touched."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from everlearn.errors import ModelError
from everlearn.models.added_rows import SplitEmbedding, SplitHead

__all__ = ["bare_model", "has_adapters", "merged_weights", "plain_model"]


def bare_model(model: Any) -> Any:
    """The transformers model itself, which peft's wrapper may hold."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def has_adapters(model: Any) -> bool:
    """Whether peft has put adapters into a model, as a wrapper or in place."""
    return bool(getattr(model, "peft_config", None))


def plain_model(model: Any, dtype: torch.dtype | None = None) -> Any:
    """A model of the same class that has the merged weights and no adapters.

    Weights that nothing was merged into and that keep their number format are shared with the model.

    Args:
        model: A transformers model, adapted by peft or not, its new rows in training or not.
        dtype: Number format of the weights; None: as they are.

    Raises:
        ModelError: The weights do not fit the model's class; quantised ones do not.
    """
    bare = bare_model(model)
    weights = _cast(merged_weights(model), dtype)
    config = copy.deepcopy(bare.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config  # a model read from GGUF keeps it, though its weights are plain
    embedding, head = _embedding_names(bare)
    if head in weights and embedding in weights and weights[head] is not weights[embedding]:
        if torch.equal(weights[head], weights[embedding]):
            weights[head] = weights[embedding]
        else:
            config.tie_word_embeddings = False  # they were, but an adapter has changed one of them
    with torch.device("meta"):
        plain = type(bare)(config)
    try:
        plain.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise ModelError(
            f"the weights do not fit {type(bare).__name__}: {str(error).splitlines()[-1]}"
        ) from error
    if getattr(config, "tie_word_embeddings", False):
        plain.tie_weights()
    plain.generation_config = copy.deepcopy(bare.generation_config)
    return plain.eval()


def merged_weights(model: Any) -> dict[str, Tensor]:
    """The weights under the names that the model's class gives them, adapters and new rows merged in.

    A layer with adapters is copied and merged in float32, one at a time; then it is brought back to its own
    number format. All adapters that are active count.
    """
    bare = bare_model(model)
    weights: dict[str, Tensor] = dict(bare.state_dict())
    for name, module in _outermost(bare, _replaced_kinds(model)):
        for key in [key for key in weights if key.startswith(f"{name}.")]:
            del weights[key]
        weights |= {f"{name}.{key}": tensor for key, tensor in _merged_layer(module).items()}
    return weights


def _replaced_kinds(model: Any) -> tuple[type, ...]:
    kinds: tuple[type, ...] = (SplitEmbedding, SplitHead)
    if has_adapters(model):
        from peft.tuners.tuners_utils import BaseTunerLayer
        from peft.utils.other import AuxiliaryTrainingWrapper

        kinds += (BaseTunerLayer, AuxiliaryTrainingWrapper)
    return kinds


def _outermost(module: nn.Module, kinds: tuple[type, ...], prefix: str = "") -> list[tuple[str, nn.Module]]:
    found = []
    for name, child in module.named_children():
        if isinstance(child, kinds):
            found.append((prefix + name, child))
        else:
            found.extend(_outermost(child, kinds, f"{prefix}{name}."))
    return found


def _merged_layer(module: Any) -> dict[str, Tensor]:
    if isinstance(module, (SplitEmbedding, SplitHead)):
        weights = {"weight": module.weight.detach()}
        if isinstance(module, SplitHead) and module.bias is not None:
            weights["bias"] = module.bias.detach()
        return weights
    layer = copy.deepcopy(module)
    if hasattr(layer, "get_base_layer"):
        formats = {key: tensor.dtype for key, tensor in layer.get_base_layer().state_dict().items()}
        layer = layer.float()
        if not layer.merged:
            layer.merge()
        merged = layer.get_base_layer().state_dict()
        return {key: tensor.to(formats[key]) for key, tensor in merged.items()}
    plain = layer.unload_and_optionally_merge_module(merge=True, safe_merge=False, adapter_names=None)
    return dict(plain.state_dict())


def _cast(weights: dict[str, Tensor], dtype: torch.dtype | None) -> dict[str, Tensor]:
    """Bring weights to a number format; names that share a tensor share the result."""
    done: dict[tuple[int, int], Tensor] = {}
    result = {}
    for name, tensor in weights.items():
        place = (tensor.data_ptr(), tensor.numel())
        if place not in done:
            wanted = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
            done[place] = tensor.detach().to(wanted)
        shared = done[place]
        result[name] = shared if shared.shape == tensor.shape else tensor.detach().to(shared.dtype)
    return result


def _embedding_names(bare: Any) -> tuple[str, str]:
    """The names of the input embedding's weight and of the head's, "" where there is none."""
    sought = (bare.get_input_embeddings(), bare.get_output_embeddings())
    names = {id(module): name for name, module in bare.named_modules()}
    embedding, head = (
        "" if module is None or id(module) not in names else f"{names[id(module)]}.weight"
        for module in sought
    )
    return embedding, head
