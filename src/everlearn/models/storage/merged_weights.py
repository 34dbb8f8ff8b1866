"""The weights of a model as one without adapters would have them; the model itself is not touched."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
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

    Weights that nothing was merged into and that keep their number format are shared with the model. What
    the model ties stays tied, unless an adapter has changed one of the two.

    Args:
        model: A transformers model, adapted by peft or not, its new rows in training or not.
        dtype: Number format of the weights; None: as they are.

    Raises:
        ModelError: The weights do not fit the model's class; quantised ones do not.
    """
    bare = bare_model(model)
    weights = merged_weights(model, dtype)
    config = copy.deepcopy(bare.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config  # a model read from GGUF keeps it, though its weights are plain
    plain = _without_weights(bare, config)
    if not all(_are_equal(weights, *pair) for pair in _ties(plain)):
        for part in _all_configs(config):
            part.tie_word_embeddings = False
        plain = _without_weights(bare, config)
    weights = _shared_as_tied(weights, dict(_ties(plain)))
    try:
        plain.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise ModelError(
            f"the weights do not fit {type(bare).__name__}: {str(error).splitlines()[-1]}"
        ) from error
    plain.tie_weights()
    plain.generation_config = copy.deepcopy(bare.generation_config)
    return plain.eval()


def merged_weights(model: Any, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """The weights under the names that the model's class gives them, adapters and new rows merged in.

    A layer with adapters is copied and merged in float32, one at a time, and rounded once, at the end. All
    adapters that are active count.

    Args:
        model: As of ``plain_model``.
        dtype: As of ``plain_model``.

    Raises:
        ModelError: There are adapters of a kind that cannot be merged.
    """
    bare = bare_model(model)
    weights: dict[str, Tensor] = dict(bare.state_dict())
    merged: dict[str, Tensor] = {}
    for name, module in _outermost(bare, _replaced_kinds(model)):
        for key in [key for key in weights if key.startswith(f"{name}.")]:
            del weights[key]
        merged |= {f"{name}.{key}": tensor for key, tensor in _merged_module(name, module, dtype).items()}
    return _cast(weights, dtype) | merged


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


def _merged_module(name: str, module: Any, dtype: torch.dtype | None) -> dict[str, Tensor]:
    if isinstance(module, (SplitEmbedding, SplitHead)):
        return _joined_rows(module, dtype)
    copied = copy.deepcopy(module)
    formats = {id(parameter): parameter.dtype for parameter in copied.parameters()}
    for parameter in copied.parameters():
        if parameter.is_floating_point() and parameter.dtype.itemsize < 4:
            parameter.data = parameter.data.float()
    weights = _without_adapters(name, copied).state_dict(keep_vars=True)
    return {
        key: tensor.detach().to(
            dtype
            if dtype is not None and tensor.is_floating_point()
            else formats.get(id(tensor), tensor.dtype)
        )
        for key, tensor in weights.items()
    }


def _without_adapters(name: str, module: Any) -> Any:
    """A module of one's own, all adapters in it merged and taken out; they may lie in one another."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    if isinstance(module, AuxiliaryTrainingWrapper):
        inner = module.unload_and_optionally_merge_module(merge=True, safe_merge=False, adapter_names=None)
        return _without_adapters(name, inner)
    if isinstance(module, BaseTunerLayer):
        layer: Any = module
        if not hasattr(layer, "base_layer") or not hasattr(layer, "merge"):
            raise ModelError(f"adapters of the kind {type(layer).__name__} cannot be merged ({name})")
        if not layer.merged:
            layer.merge()
        return _without_adapters(name, layer.base_layer)
    for child_name, child in list(module.named_children()):
        found = _without_adapters(f"{name}.{child_name}", child)
        if found is not child:
            setattr(module, child_name, found)
    return module


def _joined_rows(module: Any, dtype: torch.dtype | None) -> dict[str, Tensor]:
    old, new = (
        (module.old.weight, module.new.weight)
        if isinstance(module, SplitEmbedding)
        else (module.old_weight, module.new_weight)
    )
    wanted = old.dtype if dtype is None else dtype
    weights = {"weight": torch.cat([old.detach().to(wanted), new.detach().to(wanted)])}
    if isinstance(module, SplitHead) and module.bias is not None:
        weights["bias"] = module.bias.detach().to(module.bias.dtype if dtype is None else dtype)
    return weights


def _cast(weights: Mapping[str, Tensor], dtype: torch.dtype | None) -> dict[str, Tensor]:
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


def _without_weights(bare: Any, config: Any) -> Any:
    with torch.device("meta"):
        return type(bare)(config)


def _ties(model: Any) -> Iterator[tuple[str, str]]:
    """Names of weights that are one by the model's own account: which, and what it is one with."""
    yield from model.get_expanded_tied_weights_keys(all_submodels=True).items()


def _are_equal(weights: Mapping[str, Tensor], name: str, other: str) -> bool:
    if name not in weights or other not in weights:
        return True
    a, b = weights[name], weights[other]
    return a is b or (a.shape == b.shape and torch.equal(a, b))


def _all_configs(config: Any) -> Iterator[Any]:
    """A configuration and those of its parts (encoder, decoder, text model)."""
    yield config
    for value in list(vars(config).values()):
        if hasattr(value, "tie_word_embeddings"):
            yield from _all_configs(value)


def _shared_as_tied(weights: Mapping[str, Tensor], ties: Mapping[str, str]) -> dict[str, Tensor]:
    """Weights of which those share memory that are tied, and no others.

    What shares memory is written once, and what is not tied would then be missing where it is read.
    """
    owners: dict[int, str] = {}
    result: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        owner = ties.get(name, name)
        owner = owner if owner in weights else name
        if owner != name:
            continue
        place = tensor.untyped_storage().data_ptr()
        is_taken = tensor.numel() > 0 and owners.setdefault(place, name) != name
        result[name] = tensor.clone() if is_taken else tensor
    for name in weights:
        if name not in result:
            result[name] = result[ties[name]]
    return result
